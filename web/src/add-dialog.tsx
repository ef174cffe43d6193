// Adding pictures: choose or drop them, see how far it is, and what became of each.

import { useEffect, useRef, useState } from "preact/hooks";

import { addPictures, type Outcome } from "./adding";
import { Trouble } from "./api";
import { Dialog } from "./dialog";
import { Folder, Picture } from "./icons";
import { chosen, isPicture, type Found } from "./pictures";
import { TroubleNote } from "./trouble";
import type { Info } from "./types";
import { counted } from "./words";

const MOST_ROWS = 300;

interface Props {
  gallery: string;
  limits: Info["limits"];
  found: Found[];
  onFound: (found: Found[]) => void;
  onOpen: (id: string) => void;
  onClose: (hasAdded: boolean) => void;
}

type State = "choosing" | "adding" | "stopped" | "done";

export function AddDialog({ gallery, limits, found, onFound, onOpen, onClose }: Props) {
  const [state, setState] = useState<State>("choosing");
  const [outcomes, setOutcomes] = useState<Outcome[]>([]);
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const control = useRef<AbortController | null>(null);
  const pictures = found.filter(({ file }) => isPicture(file));
  const numLeftOut = found.length - pictures.length;
  useEffect(() => () => control.current?.abort(), []);
  useEffect(() => {
    if (state === "adding") return;
    setState("choosing");
    setOutcomes([]);
    setTrouble(null);
  }, [found]);

  const add = async () => {
    const { signal } = (control.current = new AbortController());
    const settled = new Set(outcomes.map(({ path }) => path));
    setState("adding");
    setTrouble(null);
    try {
      await addPictures(pictures.filter(({ path }) => !settled.has(path)), {
        gallery,
        limits,
        signal,
        onOutcomes: (some) => setOutcomes((before) => [...before, ...some]),
      });
      setState("done");
    } catch (error) {
      setState("stopped");
      if ((error as Error).name !== "AbortError")
        setTrouble(error instanceof Trouble ? error : new Trouble("Something went wrong", String(error)));
    }
  };
  return (
    <Dialog title={`Add pictures to ${gallery}`} kind="adding" onClose={() => onClose(outcomes.length > 0)}>
      <div class="dialog-body">
        {state === "choosing" && <Choose onFound={onFound} isEmpty={found.length === 0} />}
        {found.length > 0 && (
          <p>
            {counted(pictures.length, "picture")}
            {numLeftOut > 0 && `; ${counted(numLeftOut, "file")} left out that ${numLeftOut === 1 ? "is no picture" : "are no pictures"}`}
          </p>
        )}
        {state !== "choosing" && <Progress outcomes={outcomes} total={pictures.length} state={state} />}
        {trouble && <TroubleNote trouble={trouble} />}
        <p class="row">
          {state === "choosing" && pictures.length > 0 && (
            <button type="button" class="go" onClick={add}>
              Add {counted(pictures.length, "picture")}
            </button>
          )}
          {state === "adding" && (
            <button type="button" class="quiet" onClick={() => control.current?.abort()}>
              Stop
            </button>
          )}
          {state === "stopped" && (
            <button type="button" class="go" onClick={add}>
              Go on
            </button>
          )}
          {(state === "done" || state === "stopped") && (
            <>
              <button type="button" class={state === "done" ? "go" : "quiet"} onClick={() => onClose(true)}>
                {state === "done" ? "Done" : "That is enough"}
              </button>
              <button type="button" class="quiet" onClick={() => onFound([])}>
                Add others
              </button>
            </>
          )}
        </p>
        <Outcomes outcomes={outcomes} onOpen={state === "adding" ? null : onOpen} />
      </div>
    </Dialog>
  );
}

function Choose({ onFound, isEmpty }: { onFound: (found: Found[]) => void; isEmpty: boolean }) {
  const folder = useRef<HTMLInputElement>(null);
  useEffect(() => folder.current?.setAttribute("webkitdirectory", ""), []);
  const take = (input: HTMLInputElement) => {
    onFound(chosen(input.files));
    input.value = "";
  };
  return (
    <div class={isEmpty ? "dropzone" : "dropzone slim"}>
      {isEmpty && (
        <>
          <Picture />
          <p>Drop a folder or pictures here. Each is stored under its path, and searched from then on.</p>
        </>
      )}
      <p class="row">
        <label class="quiet small pick">
          <input ref={folder} type="file" multiple class="unseen" onChange={(event) => take(event.currentTarget)} />
          <Folder /> <span>Choose a folder</span>
        </label>
        <label class="quiet small pick">
          <input type="file" accept="image/*" multiple class="unseen" onChange={(event) => take(event.currentTarget)} />
          <Picture /> <span>Choose pictures</span>
        </label>
      </p>
    </div>
  );
}

function Progress({ outcomes, total, state }: { outcomes: Outcome[]; total: number; state: State }) {
  const count = (kind: Outcome["outcome"]) => outcomes.filter(({ outcome }) => outcome === kind).length;
  const parts = [
    `${counted(count("created"), "picture")} added`,
    count("replaced") ? `${count("replaced")} replaced` : "",
    count("unchanged") ? `${count("unchanged")} there already` : "",
    count("failed") ? `${count("failed")} failed` : "",
  ].filter(Boolean);
  return (
    <div class="progress">
      <progress max={Math.max(total, 1)} value={outcomes.length} aria-label="Pictures done" />
      <span>
        {outcomes.length} of {total}
      </span>
      <p role="status">
        {state === "adding" ? "Adding … " : state === "stopped" ? "Stopped: " : "Done: "}
        {state !== "adding" && parts.join(", ")}
      </p>
    </div>
  );
}

const SAID = { created: "added", replaced: "replaced", unchanged: "there already", failed: "failed" } as const;

function Outcomes({ outcomes, onOpen }: { outcomes: Outcome[]; onOpen: ((id: string) => void) | null }) {
  if (outcomes.length === 0) return null;
  const failures = outcomes.filter(({ outcome }) => outcome === "failed");
  const others = outcomes.filter(({ outcome }) => outcome !== "failed").reverse();
  const rows = [...failures, ...others].slice(0, MOST_ROWS);
  return (
    <>
      <ul class="outcomes" aria-label="What became of each picture" tabIndex={0}>
        {rows.map(({ path, outcome, problem }) => (
          <li key={path} class={outcome}>
            {outcome === "failed" || !onOpen ? (
              <span>{path}</span>
            ) : (
              <button type="button" class="link" onClick={() => onOpen(path)}>
                {path}
              </button>
            )}
            <b>{SAID[outcome]}</b>
            {problem && <small>{problem}</small>}
          </li>
        ))}
      </ul>
      {outcomes.length > rows.length && <p class="hint">…and {outcomes.length - rows.length} more that went well.</p>}
    </>
  );
}
