// The page: what is asked, what was found, and the address that carries it.

import { call, onKeyWanted, showPicture } from "./api.js";
import { $, make } from "./dom.js";
import { percent, show } from "./viewer.js";

const PER_PAGE = 24;
const SLOW_MS = 2500;

const asked = { text: "", file: null, item: null, target: "image", gallery: "default", rerank: false, count: PER_PAGE };
let limits = { max_top_k: 100 };
let working = null; // AbortController of the search at work

function readAddress() {
  const given = new URLSearchParams(location.search);
  asked.text = given.get("q") ?? "";
  asked.item = given.get("like");
  asked.target = given.get("target") === "text" ? "text" : "image";
  asked.gallery = given.get("gallery") ?? "default";
  asked.rerank = given.get("rerank") === "1";
  asked.file = null;
  asked.count = PER_PAGE;
  showAsked();
}

function writeAddress() {
  const said = new URLSearchParams();
  if (asked.text) said.set("q", asked.text);
  if (asked.item) said.set("like", asked.item);
  if (asked.target !== "image") said.set("target", asked.target);
  if (asked.gallery !== "default") said.set("gallery", asked.gallery);
  if (asked.rerank) said.set("rerank", "1");
  const address = said.size ? `?${said}` : location.pathname;
  if (address !== location.search) history.pushState(null, "", address);
}

function showAsked() {
  $("query").value = asked.text;
  $("gallery").value = asked.gallery;
  $("rerank").checked = asked.rerank;
  document.querySelector(`[name=target][value=${asked.target}]`).checked = true;
  const picture = $("chosen-picture");
  $("chosen").hidden = !asked.file && !asked.item;
  if (asked.file) picture.src = URL.createObjectURL(asked.file);
  else if (asked.item) showPicture(picture, asked.gallery, asked.item).catch(tell);
  else picture.removeAttribute("src");
}

/** Ask what stands in the form, or show the gallery when nothing does. */
async function search({ isMore = false } = {}) {
  working?.abort();
  const { signal } = (working = new AbortController());
  $("trouble").hidden = true;
  $("more").hidden = true;
  $("examples").hidden = true;
  if (!isMore) showWaiting();
  const slow = setTimeout(() => ($("state").textContent = "Still working …"), SLOW_MS);
  try {
    if (asked.text.trim() || asked.file || asked.item) await showHits(signal);
    else await showGallery(signal);
  } catch (error) {
    if (error.name !== "AbortError") tell(error);
  } finally {
    clearTimeout(slow);
  }
}

async function showHits(signal) {
  const body = {
    target: asked.target,
    gallery: asked.gallery,
    top_k: Math.min(asked.count, limits.max_top_k),
    include: ["metadata", "text"],
  };
  if (asked.text.trim()) body.text = asked.text;
  if (asked.item && !asked.file) body.image = { item: asked.item };
  const canRerank = asked.target === "image" ? Boolean(body.text) : Boolean(asked.file || asked.item);
  if (asked.rerank && canRerank) body.rerank = Math.min(body.top_k, 48);
  const answer = await call("/search", { body, file: asked.file, signal });
  const hits = answer.hits.filter((hit) => hit.id !== asked.item);
  fillGrid(hits);
  const ms = Math.round(answer.timings_ms.total);
  $("state").textContent = hits.length
    ? `The best ${hits.length} of ${answer.gallery.items.toLocaleString()} in ${ms} ms`
    : answer.gallery.items
      ? "Nothing was found. Try other words."
      : "This gallery is empty. Add pictures with `vernier index add`.";
  $("more").hidden = answer.hits.length < body.top_k || body.top_k >= Math.min(limits.max_top_k, answer.gallery.items);
}

async function showGallery(signal) {
  const path = `/galleries/${encodeURIComponent(asked.gallery)}/items?limit=${Math.min(asked.count, 1000)}`;
  const page = await call(path, { signal });
  fillGrid(page.items);
  $("state").textContent = page.items.length ? "" : "This gallery is empty. Add pictures with `vernier index add`.";
  $("more").hidden = !page.next_cursor;
  const texts = [...new Set(page.items.map((item) => item.text).filter((text) => text && text.length < 60))];
  texts.sort((one, other) => one.length - other.length);
  $("examples").replaceChildren(
    ...texts.slice(0, 4).map((text) => make("button", { type: "button", onclick: () => ask({ text }) }, text)),
  );
  $("examples").hidden = texts.length === 0;
}

function showWaiting() {
  $("state").textContent = "Searching …";
  $("results").replaceChildren(
    ...Array.from({ length: 12 }, () => make("li", { class: "ghost", "aria-hidden": "true" })),
  );
}

function fillGrid(entries) {
  const best = Math.max(...entries.map((entry) => entry.score ?? 0));
  $("results").replaceChildren(...entries.map((entry) => cardOf(entry, best)));
}

function cardOf(entry, best) {
  const shown = make("span", { class: "shown" });
  if (entry.has_picture !== false) {
    const image = make("img", { alt: "", loading: "lazy", width: 240, height: 240 });
    image.addEventListener("error", () => shown.replaceChildren(wordsOnly(entry)));
    shown.append(image);
    showPicture(image, asked.gallery, entry.id).catch(() => {});
  } else shown.append(wordsOnly(entry));
  const about = make("span", { class: "about" });
  about.append(make("span", { class: entry.text ? "name long" : "name" }, entry.text ?? entry.id));
  if (entry.score !== undefined) about.append(scoreOf(entry, best));
  const card = make("button", { type: "button", class: "card", onclick: () => look(entry) }, shown, about);
  card.setAttribute("aria-label", `Open ${entry.id}${entry.score === undefined ? "" : `, score ${entry.score.toFixed(2)}`}`);
  return make("li", { "data-id": entry.id }, card);
}

const wordsOnly = (entry) => make("span", { class: "words-only" }, entry.text ?? "No picture");

function scoreOf(hit, best) {
  const part = hit.match ?? Math.max(0, hit.score / best || 0);
  const said = hit.match === undefined ? hit.score.toFixed(3) : `${percent(hit.match)} match`;
  return make("span", { class: "score" }, make("i", { "--part": part.toFixed(3) }), said);
}

function look(entry) {
  const text = asked.target === "text" ? (entry.text ?? asked.text) : asked.text.trim() ? asked.text : entry.text;
  show({
    id: entry.id,
    gallery: asked.gallery,
    text,
    metadata: { ...(entry.text ? { caption: entry.text } : {}), ...entry.metadata },
    onSimilar: (id) => ask({ text: "", item: id, target: "image" }),
  });
}

function ask(change) {
  Object.assign(asked, { file: null, item: null, count: PER_PAGE }, change);
  showAsked();
  writeAddress();
  search();
  scrollTo({ top: 0 });
}

function tell(error) {
  $("state").textContent = "";
  $("results").replaceChildren();
  $("trouble-title").textContent = error.title ?? "Something went wrong";
  $("trouble-detail").textContent = error.detail ?? error.message;
  $("trouble").hidden = false;
}

function withPicture(file) {
  if (file?.type.startsWith("image/")) ask({ text: $("query").value, file });
  else if (file) tell({ title: "This is not a picture", detail: file.name });
}

async function showRunning() {
  const info = await call("/info");
  limits = info.limits;
  $("rerank-option").hidden = !info.bundle.rerank;
  $("gallery").replaceChildren(...info.galleries.map(({ name }) => make("option", { value: name }, name)));
  $("gallery-option").hidden = info.galleries.length < 2;
  $("gallery").value = asked.gallery;
  const served = info.galleries.find(({ name }) => name === asked.gallery);
  const providers = [...new Set(Object.values(info.graphs).map(({ provider }) => provider))].join(", ");
  const told = [["model", info.bundle.name], ["pictures", served?.items.toLocaleString() ?? "none"], ["on", providers]];
  $("running").replaceChildren(...told.map(([name, value]) => make("span", {}, `${name} `, make("b", {}, value))));
}

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const { file, item } = asked;
  ask({ text: $("query").value, file, item });
});
for (const option of document.querySelectorAll("[name=target], #rerank, #gallery"))
  option.addEventListener("change", () => {
    const { file } = asked;
    const isOther = $("gallery").value && $("gallery").value !== asked.gallery;
    ask({
      text: $("query").value,
      file,
      item: isOther ? null : asked.item,
      target: document.querySelector("[name=target]:checked").value,
      rerank: $("rerank").checked,
      gallery: $("gallery").value || asked.gallery,
    });
    if (isOther) showRunning().catch(tell);
  });
$("file").addEventListener("change", () => {
  withPicture($("file").files[0]);
  $("file").value = "";
});
$("chosen-remove").addEventListener("click", () => ask({ text: $("query").value }));
$("more").addEventListener("click", () => {
  asked.count += PER_PAGE;
  search({ isMore: true });
});
$("trouble-retry").addEventListener("click", () => search());
addEventListener("popstate", () => {
  readAddress();
  search();
});
addEventListener("paste", (event) => withPicture(event.clipboardData?.files[0]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").hidden = ![...event.dataTransfer.items].some((entry) => entry.kind === "file");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").hidden = true;
});
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  withPicture(event.dataTransfer.files[0]);
});
onKeyWanted(
  () =>
    new Promise((resolve) => {
      $("key").value = "";
      $("key-dialog").addEventListener("close", () => resolve($("key").value || null), { once: true });
      if (!$("key-dialog").open) $("key-dialog").showModal();
    }),
);

readAddress();
await showRunning().catch(tell);
search();
