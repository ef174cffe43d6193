// One picture, looked at closely: a text held against it, a phrase found in it, a part of it named.

import { useEffect, useMemo, useState } from "preact/hooks";

import { call, itemPath, Trouble } from "./api";
import { Dialog } from "./dialog";
import { Facts } from "./facts";
import { nameOfFile, useAnswer, usePicture, type Answer } from "./hooks";
import { Alike, Left, Picture, Right } from "./icons";
import { Reading } from "./reading";
import type { Entry } from "./results";
import { hueOf, Stage, type Marking, type Part, type Warmth } from "./stage";
import { TroubleNote } from "./trouble";
import type { GroundAnswer, IdentifyAnswer, Item, JsonObject, ProofreadAnswer } from "./types";
import { cut, inPixels, WhatIsThis } from "./what-is-this";
import { percent } from "./words";

const TYPING_MS = 250;
const FOUND = "found";

/** The picture that is looked at: an item's, one's own, or none yet. */
export type Subject = { gallery: string; id: string } | File | null;

interface Props {
  subject: Subject;
  gallery: string;
  /** What the hit was found with, and what it scored. */
  entry: Entry | null;
  /** What to hold against the picture at first; the item's own text when empty. */
  text: string;
  onText: (text: string) => void;
  onStep: ((by: 1 | -1) => void) | null;
  onAlike: (picture: { id: string } | File) => void;
  onPicture: (file: File) => void;
  onClose: () => void;
}

export function Viewer(props: Props) {
  const { subject, gallery, onPicture } = props;
  const name = subject === null ? "Check a caption" : subject instanceof File ? subject.name : subject.id;
  return (
    <Dialog
      title={name}
      kind="viewer"
      onClose={props.onClose}
      actions={
        <>
          {props.onStep && (
            <>
              <button type="button" class="round" aria-label="Previous picture" onClick={() => props.onStep?.(-1)}>
                <Left />
              </button>
              <button type="button" class="round" aria-label="Next picture" onClick={() => props.onStep?.(1)}>
                <Right />
              </button>
            </>
          )}
          <PictureInput label="Another picture" onPicture={onPicture} />
        </>
      }
    >
      {subject === null ? (
        <div class="dropzone">
          <Picture />
          <p>Drop or paste a picture here, then write what it shows.</p>
          <PictureInput label="Choose a picture" onPicture={onPicture} />
        </div>
      ) : (
        <Looking key={subject instanceof File ? nameOfFile(subject) : itemPath(gallery, subject.id)} {...props} subject={subject} />
      )}
    </Dialog>
  );
}

function PictureInput({ label, onPicture }: { label: string; onPicture: (file: File) => void }) {
  return (
    <label class="quiet small pick">
      <input
        type="file"
        accept="image/*"
        class="unseen"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = "";
          if (file) onPicture(file);
        }}
      />
      <Picture /> <span>{label}</span>
    </label>
  );
}

interface Read {
  text: string;
  ground: GroundAnswer | Trouble;
  proof: ProofreadAnswer | Trouble;
}

function Looking(props: Props & { subject: Exclude<Subject, null> }) {
  const { subject, gallery, onText } = props;
  const file = subject instanceof File ? subject : null;
  const id = subject instanceof File ? null : subject.id;
  const item = useAnswer(id, (signal) => call<Item>(itemPath(gallery, id!), { signal }));
  const [typed, setTyped] = useState<string | null>(props.text || null);
  const text = typed ?? item.value?.text ?? "";
  const [phrase, setPhrase] = useState("");
  const [pinned, setPinned] = useState<string | null>(null);
  const [pointed, setPointed] = useState<string | null>(null);
  const [word, setWord] = useState<number | null>(null);
  const [part, setPart] = useState<Part | null>(null);
  const [size, setSize] = useState<[number, number] | null>(null);
  const source = usePicture(subject);

  const ask = <T,>(path: string, body: JsonObject, signal: AbortSignal): Promise<T> =>
    call<T>(path, { body: file ? body : { ...body, image: { item: id }, gallery }, file, signal });

  const read = useAnswer<Read>(
    text.trim() ? text : null,
    async (signal) => {
      const [ground, proof] = await Promise.all([
        ask<GroundAnswer>("/ground", { text, heatmap: "grid", words: true }, signal).catch(troubleIn),
        ask<ProofreadAnswer>("/proofread", { text }, signal).catch(troubleIn),
      ]);
      return { text, ground, proof };
    },
    { delayMs: TYPING_MS },
  );
  const found = useAnswer(
    phrase.trim() || null,
    (signal) => ask<GroundAnswer>("/ground", { phrases: [phrase.trim()], top_k: 3, heatmap: "grid" }, signal),
    { delayMs: TYPING_MS },
  );
  const what = useAnswer(part && size && JSON.stringify(part), (signal) =>
    ask<IdentifyAnswer>("/identify", { ...inPixels(part!, size!), top_k: 6, ...(file ? { gallery } : {}) }, signal),
  );

  const ofText: Marking[] = useMemo(() => {
    const ground = read.value?.ground;
    if (!ground || ground instanceof Trouble) return [];
    return ground.groundings.map((grounding, at) => ({ key: `text ${at}`, hue: hueOf(at), grounding }));
  }, [read.value]);
  const ofPhrase: Marking[] = (found.value?.groundings ?? []).map((grounding) => ({ key: FOUND, hue: "#b91c1c", grounding }));
  const markings = [...ofText, ...ofPhrase];
  useEffect(() => setPinned(phrase.trim() ? FOUND : null), [phrase]);
  useEffect(() => setPinned((now) => (now === FOUND ? now : null)), [read.value]);
  const active = markings.some(({ key }) => key === pointed) ? pointed : markings.some(({ key }) => key === pinned) ? pinned : null;
  const warmth = warmthOf(read.value?.ground, word, found.value, markings.find(({ key }) => key === active));

  const setText = (now: string) => {
    setTyped(now);
    onText(now);
  };
  return (
    <div class="viewer-body">
      <Stage
        source={source}
        name={id === null ? file!.name : `Picture ${id}`}
        markings={markings}
        active={active}
        warmth={warmth}
        imageSize={size}
        part={part}
        partName={what.state === "done" ? (what.value?.names[0]?.phrase ?? null) : null}
        onPart={setPart}
        onSize={setSize}
      />
      <div class="panel">
        <section aria-label="A text and the picture">
          <label class="field">
            <span>Text to hold against the picture</span>
            <textarea
              rows={2}
              maxlength={2000}
              spellcheck={false}
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
            />
          </label>
          <ReadText {...{ text, read, ofText, setPointed, setWord, setText }} />
          {markings.length > 0 && <Legend {...{ markings, pinned, setPinned, setPointed }} />}
        </section>
        <section aria-label="A phrase in the picture">
          <label class="field">
            <span>Find a phrase in the picture</span>
            <input
              type="text"
              maxlength={300}
              placeholder="a red hat"
              value={phrase}
              onInput={(event) => setPhrase(event.currentTarget.value)}
            />
          </label>
          {found.state === "slow" && <p class="hint">Still looking …</p>}
          {found.trouble && <TroubleNote trouble={found.trouble} onRetry={found.again} />}
          {found.state === "done" && found.value?.groundings[0]?.boxes.length === 0 && (
            <p class="hint">That is not in the picture.</p>
          )}
        </section>
        <WhatIsThis {...{ what, part, setPart, setPhrase }} onSearch={() => cut(source!, part!).then(props.onAlike)} />
        {item.trouble && <TroubleNote trouble={item.trouble} onRetry={item.again} />}
        <Facts entry={props.entry} item={item.value} />
        <button type="button" class="go" onClick={() => props.onAlike(file ?? { id: id! })}>
          <Alike /> Find similar pictures
        </button>
      </div>
    </div>
  );
}

function troubleIn(error: unknown): Trouble {
  if (error instanceof Trouble) return error;
  throw error;
}

/** The heat of the word that is pointed at, else that of the phrase. */
function warmthOf(
  ground: GroundAnswer | Trouble | undefined,
  word: number | null,
  found: GroundAnswer | null,
  active: Marking | undefined,
): Warmth | null {
  const ofText = ground instanceof Trouble ? undefined : ground;
  const pointed = ofText?.words?.find(({ start }) => start === word);
  if (pointed) return { name: pointed.word, grid: pointed.heatmap, method: ofText?.heatmap_method };
  if (!active) return null;
  const { phrase, heatmap } = active.grounding;
  return { name: phrase, grid: heatmap, method: (active.key === FOUND ? found : ofText)?.heatmap_method };
}

interface ReadTextProps {
  text: string;
  read: Answer<Read>;
  ofText: Marking[];
  setPointed: (key: string | null) => void;
  setWord: (start: number | null) => void;
  setText: (text: string) => void;
}

function ReadText({ text, read, ofText, setPointed, setWord, setText }: ReadTextProps) {
  const { value } = read;
  const isOld = value !== null && value.text !== text;
  return (
    <div class={isOld ? "read busy" : "read"} aria-live="polite" aria-busy={isOld || read.state === "waiting"}>
      {!text.trim() && <p class="hint">Write what the picture shows, and see which words are true of it.</p>}
      {text.trim() && !value && !read.trouble && (
        <p class="hint">{read.state === "slow" ? "Still reading …" : "Reading …"}</p>
      )}
      {read.trouble && <TroubleNote trouble={read.trouble} onRetry={read.again} />}
      {value &&
        (value.proof instanceof Trouble ? (
          <TroubleNote trouble={value.proof} onRetry={read.again} />
        ) : (
          <Reading text={value.text} proof={value.proof} markings={ofText} onPoint={setPointed} onWord={setWord} onText={setText} />
        ))}
      {value?.ground instanceof Trouble && <TroubleNote trouble={value.ground} onRetry={read.again} />}
      {value && isOld && read.state === "slow" && <p class="hint">Still reading …</p>}
    </div>
  );
}

interface LegendProps {
  markings: Marking[];
  pinned: string | null;
  setPinned: (key: string | null) => void;
  setPointed: (key: string | null) => void;
}

/** The phrases that are boxed; pointing at one, or choosing it, shows its heat. */
function Legend({ markings, pinned, setPinned, setPointed }: LegendProps) {
  return (
    <ul class="phrases" aria-label="Phrases in the picture">
      {markings.map(({ key, hue, grounding }) => (
        <li key={key}>
          <button
            type="button"
            class="chip"
            style={{ "--hue": hue }}
            aria-pressed={pinned === key}
            title="Show where"
            onMouseEnter={() => setPointed(key)}
            onMouseLeave={() => setPointed(null)}
            onClick={() => setPinned(pinned === key ? null : key)}
          >
            <i aria-hidden="true" /> {grounding.phrase} <small>{grounding.boxes[0] ? percent(grounding.boxes[0].score) : "not in the picture"}</small>
          </button>
        </li>
      ))}
    </ul>
  );
}
