// What the components share: questions to the server with all their states, pictures, times.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { key, onTimed, send, itemPath, Trouble, type Timed } from "./api";

const SLOW_MS = 2500;

export interface Answer<T> {
  state: "none" | "waiting" | "slow" | "done" | "failed";
  /** The last good answer. While the next one is waited for, it is still that to the question before. */
  value: T | null;
  trouble: Trouble | null;
  again: () => void;
}

type Held<T> = Omit<Answer<T>, "again"> & { question: string | null };

/** Ask the server anew whenever `question` changes, once it has not changed for a while; older answers are dropped, and
 * so is the last good one after a failure, unless the caller `keeps` it. */
export function useAnswer<T>(
  question: string | null,
  ask: (signal: AbortSignal) => Promise<T>,
  { delayMs = 0, keeps = false }: { delayMs?: number; keeps?: boolean } = {},
): Answer<T> {
  const [held, hold] = useState<Held<T>>({ state: "none", value: null, trouble: null, question: null });
  const [attempt, setAttempt] = useState(0);
  const isFirst = useRef(true);
  useEffect(() => {
    if (question === null) {
      hold({ state: "none", value: null, trouble: null, question });
      return;
    }
    const control = new AbortController();
    hold((before) => ({ ...before, state: "waiting", question }));
    const run = async () => {
      try {
        const value = await ask(control.signal);
        if (!control.signal.aborted) hold({ state: "done", value, trouble: null, question });
      } catch (error) {
        if (control.signal.aborted) return;
        const trouble = error instanceof Trouble ? error : new Trouble("Something went wrong", String(error));
        hold((before) => ({ state: "failed", value: keeps ? before.value : null, trouble, question }));
      } finally {
        clearTimeout(slow);
      }
    };
    const wait = setTimeout(run, isFirst.current ? 0 : delayMs);
    const slow = setTimeout(() => hold((before) => ({ ...before, state: "slow" })), delayMs + SLOW_MS);
    isFirst.current = false;
    return () => {
      control.abort();
      clearTimeout(wait);
      clearTimeout(slow);
    };
  }, [question, attempt]);
  const again = () => setAttempt(attempt + 1);
  if (held.question === question) return { ...held, again };
  // What is held answers the question before: the one of now will be asked once this is drawn.
  return { state: question === null ? "none" : "waiting", value: question === null ? null : held.value, trouble: null, again };
}

/** Give an address for the picture of an item or of a file; where a key is needed, the picture is fetched with it. */
export function usePicture(source: { gallery: string; id: string } | File | null): string | null {
  const [made, setMade] = useState<string | null>(null);
  const name = source === null ? null : source instanceof File ? source : itemPath(source.gallery, source.id);
  useEffect(() => {
    setMade(null);
    if (name === null || (typeof name === "string" && !key())) return;
    const control = new AbortController();
    let url: string | null = null;
    const show = (blob: Blob) => {
      if (!control.signal.aborted) setMade((url = URL.createObjectURL(blob)));
    };
    if (name instanceof File) show(name);
    else
      send(`${name}/image`, { signal: control.signal })
        .then((answer) => answer.blob())
        .then(show)
        .catch(() => control.signal.aborted || setMade(""));
    return () => {
      control.abort();
      if (url) URL.revokeObjectURL(url);
    };
  }, [name]);
  return typeof name === "string" && !key() ? `${name}/image` : made;
}

/** Give the time of the last call to one of the server's routes. */
export function useTimed(paths: readonly string[]): Timed | null {
  const [last, setLast] = useState<Timed | null>(null);
  useEffect(() => onTimed((timed) => paths.includes(timed.path) && setLast(timed)), []);
  return last;
}

let numFiles = 0;
const numbers = new WeakMap<File, number>();

/** Give a name that no other file has, to be part of a question. */
export function nameOfFile(file: File | null): string {
  if (file === null) return "";
  if (!numbers.has(file)) numbers.set(file, ++numFiles);
  return `file ${numbers.get(file)}`;
}

/** Give a function that stays the same one and calls the newest. */
export function useLatest<A extends unknown[], R>(call: (...args: A) => R): (...args: A) => R {
  const latest = useRef(call);
  latest.current = call;
  return useMemo(() => (...args: A) => latest.current(...args), []);
}
