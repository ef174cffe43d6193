// What was found: cards, or what stands in their place while there are none.

import { useState } from "preact/hooks";

import { usePicture } from "./hooks";
import { Alike } from "./icons";
import type { JsonObject } from "./types";
import { percent, said } from "./words";

/** A hit, or an item of the gallery when nothing was asked. */
export interface Entry {
  id: string;
  text: string | null;
  metadata: JsonObject;
  hasPicture: boolean;
  score: number | null;
  match: number | null;
  /** Of a video: seconds from its beginning to the best frame. */
  time: number | null;
}

interface Props {
  entries: Entry[];
  gallery: string;
  isStale: boolean;
  onOpen: (id: string) => void;
  onAlike: (id: string) => void;
}

export function Results({ entries, gallery, isStale, onOpen, onAlike }: Props) {
  const best = Math.max(1e-6, ...entries.map((entry) => entry.score ?? 0));
  return (
    <ul class={isStale ? "grid stale" : "grid"} id="results" aria-label="Results">
      {entries.map((entry) => (
        <Card key={entry.id} {...{ entry, gallery, best, onOpen, onAlike }} />
      ))}
    </ul>
  );
}

type CardProps = Pick<Props, "gallery" | "onOpen" | "onAlike"> & { entry: Entry; best: number };

function Card({ entry, gallery, best, onOpen, onAlike }: CardProps) {
  const facts = factsOf(entry);
  return (
    <li data-id={entry.id}>
      <button type="button" class="card" onClick={() => onOpen(entry.id)} aria-label={nameOf(entry)}>
        <span class="shown">
          <Thumbnail entry={entry} gallery={gallery} />
        </span>
        <span class="about">
          <span class={entry.text ? "name long" : "name"}>{entry.text ?? entry.id}</span>
          {entry.score !== null && <Score entry={entry} best={best} />}
          {facts && <span class="tags">{facts}</span>}
        </span>
      </button>
      {entry.hasPicture && (
        <button
          type="button"
          class="round alike"
          aria-label={`Search with the picture ${entry.id}`}
          title="Search with this picture"
          onClick={() => onAlike(entry.id)}
        >
          <Alike />
        </button>
      )}
    </li>
  );
}

function Thumbnail({ entry, gallery }: { entry: Entry; gallery: string }) {
  const source = usePicture(entry.hasPicture ? { gallery, id: entry.id } : null);
  const [isMissing, setMissing] = useState(false);
  if (isMissing || !entry.hasPicture || source === "") return <span class="words-only">{entry.text ?? "No picture"}</span>;
  if (source === null) return null;
  return <img src={source} alt="" loading="lazy" width="240" height="240" onError={() => setMissing(true)} />;
}

function Score({ entry, best }: { entry: Entry; best: number }) {
  const score = entry.score ?? 0;
  const part = entry.match ?? Math.max(0, score / best);
  return (
    <span class="score">
      <i style={{ "--part": part.toFixed(3) }} />
      {entry.match !== null && <b>{percent(entry.match)} match</b>}
      {entry.time !== null && <b>at {entry.time.toFixed(1)} s</b>}
      <span>{score.toFixed(3)}</span>
    </span>
  );
}

function nameOf(entry: Entry): string {
  const score = entry.score === null ? "" : `, score ${entry.score.toFixed(2)}`;
  const match = entry.match === null ? "" : `, match ${percent(entry.match)}`;
  const time = entry.time === null ? "" : `, at ${entry.time.toFixed(1)} seconds`;
  return `Open ${entry.id}${score}${match}${time}${entry.text ? `: ${entry.text}` : ""}`;
}

function factsOf(entry: Entry): string {
  const facts = Object.entries(entry.metadata).filter(([, value]) => said(value) !== entry.text);
  return facts.map(([name, value]) => `${name}: ${said(value)}`).join(" · ");
}

export function Ghosts() {
  return (
    <ul class="grid" aria-hidden="true">
      {Array.from({ length: 12 }, (_, at) => (
        <li key={at} class="ghost" />
      ))}
    </ul>
  );
}
