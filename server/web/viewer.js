// One picture, looked at closely: boxes for the phrases of a text, and its words coloured by how wrong they seem.

import { call, showPicture } from "./api.js";
import { $, make, settled } from "./dom.js";

const HUES = ["#0d9488", "#7c3aed", "#db2777", "#2563eb", "#b45309", "#4d7c0f", "#be123c", "#0e7490"];

let open = null; // { id, gallery }
let reading = null; // AbortController of the reading at work

/** Show a hit. `text` is what it is held against at first; `onSimilar` is called with the id to look for its like. */
export function show({ id, gallery, text, metadata, onSimilar }) {
  open = { id, gallery };
  $("viewer-name").textContent = id;
  $("picture").alt = `Picture ${id}`;
  $("picture").removeAttribute("src");
  showPicture($("picture"), gallery, id).catch(tell);
  $("caption").value = text ?? "";
  const facts = Object.entries(metadata ?? {}).flatMap(([name, value]) => [
    make("dt", {}, name),
    make("dd", {}, shown(value)),
  ]);
  $("facts").replaceChildren(...facts);
  $("similar").onclick = () => {
    $("viewer").close();
    onSimilar(id);
  };
  clear();
  $("viewer").showModal();
  read();
}

function shown(value) {
  if (Array.isArray(value) && value.every((part) => typeof part !== "object")) return value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

function clear() {
  for (const box of $("frame").querySelectorAll(".box")) box.remove();
  $("reading").replaceChildren();
  $("advice").replaceChildren();
  $("reading-hint").textContent = "";
  $("match").hidden = true;
  $("reading-trouble").hidden = true;
}

function tell(error) {
  if (error.name === "AbortError") return;
  $("reading-trouble").textContent = [error.title, error.detail ?? error.message].filter(Boolean).join(": ");
  $("reading-trouble").hidden = false;
}

async function read() {
  reading?.abort();
  const text = $("caption").value;
  if (!text.trim()) {
    clear();
    $("reading-hint").textContent = "Write what the picture shows, and see which words are true of it.";
    return;
  }
  const { signal } = (reading = new AbortController());
  $("reading").classList.add("busy");
  const body = { image: { item: open.id }, gallery: open.gallery, text };
  const [ground, proof] = await Promise.allSettled([
    call("/ground", { body, signal }),
    call("/proofread", { body, signal }),
  ]);
  if (signal.aborted) return;
  $("reading").classList.remove("busy");
  clear();
  const groundings = ground.status === "fulfilled" ? ground.value.groundings : [];
  if (ground.status === "fulfilled") drawBoxes(groundings, ground.value.image_size);
  else tell(ground.reason);
  if (proof.status === "fulfilled") writeReading(text, proof.value, groundings);
  else tell(proof.reason);
}

function drawBoxes(groundings, [width, height]) {
  groundings.forEach(({ phrase, boxes }, at) => {
    for (const { box, score } of boxes) {
      const [x0, y0, x1, y1] = box;
      const label = make("span", {}, phrase);
      const drawn = make(
        "div",
        { class: "box", "data-phrase": at, "--hue": HUES[at % HUES.length] },
        label,
      );
      drawn.classList.toggle("inside", y0 / height < 0.08);
      drawn.classList.toggle("leftward", x0 / width > 0.6);
      drawn.title = `${phrase}: ${percent(score)}`;
      drawn.style.left = `${(x0 / width) * 100}%`;
      drawn.style.top = `${(y0 / height) * 100}%`;
      drawn.style.width = `${((x1 - x0) / width) * 100}%`;
      drawn.style.height = `${((y1 - y0) / height) * 100}%`;
      $("frame").append(drawn);
    }
  });
}

function writeReading(text, proof, groundings) {
  const out = [];
  let at = 0;
  const add = (until, parent) => {
    for (const word of proof.words.filter((w) => w.start >= at && w.end <= until)) {
      parent.push(text.slice(at, word.start), wordOf(word));
      at = word.end;
    }
    parent.push(text.slice(at, until));
    at = until;
  };
  groundings.forEach((grounding, number) => {
    if (grounding.start < at) return;
    add(grounding.start, out);
    const inside = [];
    add(grounding.end, inside);
    out.push(
      make(
        "span",
        {
          class: "phrase",
          "--hue": HUES[number % HUES.length],
          onmouseenter: () => point(number),
          onmouseleave: () => point(null),
        },
        ...inside,
      ),
    );
  });
  add(text.length, out);
  $("reading").replaceChildren(...out);
  $("advice").replaceChildren(...proof.words.filter((word) => word.is_error).map((word) => adviceOn(text, word)));
  const wrong = proof.words.filter((word) => word.is_error).length;
  $("reading-hint").textContent = wrong
    ? `${wrong === 1 ? "One word does" : `${wrong} words do`} not fit the picture.`
    : "Every word fits the picture.";
  $("match").hidden = false;
  $("match-meter").value = proof.match;
  $("match-meter").textContent = $("match-number").textContent = percent(proof.match);
}

function wordOf(word) {
  // A bundle may call a word wrong from a low probability on; it is coloured as wrong all the same.
  const shade = word.is_error ? Math.max(0.5, word.error_probability) : Math.min(0.5, word.error_probability);
  const shown = make("span", { class: word.is_error ? "word error" : "word", "--p": shade }, word.word);
  shown.title = `${percent(word.error_probability)} likely to be wrong`;
  return shown;
}

function adviceOn(text, word) {
  const choices = word.suggestions.map((suggestion) =>
    make(
      "button",
      {
        type: "button",
        "aria-label": `Replace ${word.word} with ${suggestion.word}`,
        onclick: () => {
          $("caption").value = text.slice(0, word.start) + suggestion.word + text.slice(word.end);
          read();
        },
      },
      suggestion.word,
      make("small", {}, percent(suggestion.probability)),
    ),
  );
  return make("p", {}, make("s", {}, word.word), choices.length ? "→" : "", ...choices);
}

function point(phrase) {
  $("frame").classList.toggle("pointed", phrase !== null);
  for (const box of $("frame").querySelectorAll(".box")) box.classList.toggle("on", Number(box.dataset.phrase) === phrase);
}

export const percent = (part) => `${Math.round(part * 100)} %`;

$("caption").addEventListener("input", settled(read, 350));
$("viewer-close").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("click", (event) => event.target === $("viewer") && $("viewer").close());
$("viewer").addEventListener("close", () => reading?.abort());
