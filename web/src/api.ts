// Every call to the server: the key that it may want, the time that it took, and what went wrong.

import type { Problem } from "./types";

const KEY = "vernier-key";

/** An answer that was not a good one: `title` and `detail` are for people, `code` and `status` for programs. */
export class Trouble extends Error {
  readonly title: string;
  readonly code: string;
  readonly status: number;
  readonly retryAfterS: number | null;

  constructor(title: string, detail: string, { code = "unreachable", status = 0, retryAfterS = null as number | null } = {}) {
    super(detail);
    this.title = title;
    this.code = code;
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** How long one call took: on the server, stage by stage, and altogether as seen from here. */
export interface Timed {
  path: string;
  stages: [string, number][];
  serverMs: number;
  roundTripMs: number;
}

type AskForKey = (why: "needed" | "write") => Promise<string | null>;
let askForKey: AskForKey = async () => null;
let asking: Promise<string | null> | null = null;
let refusedAt = 0;
const listeners = new Set<(timed: Timed) => void>();

/** Set what is called when the server wants a key, or one that may write; it gives the key, or null. */
export function onKeyWanted(ask: AskForKey): void {
  askForKey = ask;
}

/** Be told how long each call took; call what is returned to be told no more. */
export function onTimed(listener: (timed: Timed) => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

export const key = (): string | null => sessionStorage.getItem(KEY);

export interface Call {
  method?: string;
  body?: unknown;
  /** With a file, the body is sent as a form: part `request` and part `image`. */
  file?: File | Blob | null | undefined;
  form?: FormData;
  signal?: AbortSignal | undefined;
}

/** Call the server and read its JSON. */
export async function call<T>(path: string, options: Call = {}): Promise<T> {
  return (await send(path, options)).json() as Promise<T>;
}

/** Call the server; a new key is asked for as often as the old one does not do. */
export async function send(path: string, options: Call = {}): Promise<Response> {
  const since = performance.now();
  for (;;) {
    const used = key();
    const answer = await sendOnce(path, options, used);
    if (answer.ok) return answer;
    const problem = await troubleOf(answer);
    const wantsWrite = problem.code === "forbidden" && used !== null;
    if (answer.status !== 401 && !wantsWrite) throw problem;
    if (used === key() && !(await newKey(wantsWrite ? "write" : "needed", since))) throw problem;
  }
}

/** Ask for a key. Who gave none is not asked again by calls that had begun by then. */
async function newKey(why: "needed" | "write", since: number): Promise<boolean> {
  if (since < refusedAt) return false;
  asking ??= askForKey(why).finally(() => (asking = null));
  const given = await asking;
  if (given) sessionStorage.setItem(KEY, given);
  else refusedAt = performance.now();
  return Boolean(given);
}

async function sendOnce(path: string, options: Call, used: string | null): Promise<Response> {
  const headers: Record<string, string> = used ? { Authorization: `Bearer ${used}` } : {};
  let body: BodyInit | null = options.form ?? null;
  if (options.body !== undefined && options.file) {
    const form = new FormData();
    form.append("request", new Blob([JSON.stringify(options.body)], { type: "application/json" }));
    form.append("image", options.file);
    body = form;
  } else if (options.body !== undefined) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(options.body);
  }
  const method = options.method ?? (body === null ? "GET" : "POST");
  const since = performance.now();
  try {
    const answer = await fetch(path, { method, headers, body, signal: options.signal ?? null });
    tellTimes(path, answer, performance.now() - since);
    return answer;
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new Trouble("The server cannot be reached", "Is it still running?");
  }
}

function tellTimes(path: string, answer: Response, roundTripMs: number): void {
  const stages: [string, number][] = [];
  let serverMs = 0;
  for (const entry of (answer.headers.get("server-timing") ?? "").split(",")) {
    const [, name, ms] = /^\s*([\w-]+).*?dur=([\d.]+)/.exec(entry) ?? [];
    if (name === "total") serverMs = Number(ms);
    else if (name) stages.push([name, Number(ms)]);
  }
  for (const listener of listeners) listener({ path, stages, serverMs, roundTripMs });
}

async function troubleOf(answer: Response): Promise<Trouble> {
  const problem = (await answer.json().catch(() => ({}))) as Partial<Problem>;
  const after = Number(answer.headers.get("retry-after"));
  return new Trouble(problem.title ?? `Error ${answer.status}`, problem.detail ?? "", {
    code: problem.code ?? "unknown",
    status: answer.status,
    retryAfterS: after > 0 ? after : null,
  });
}

export const galleryPath = (gallery: string): string => `/galleries/${encodeURIComponent(gallery)}`;
export const itemPath = (gallery: string, id: string): string => `${galleryPath(gallery)}/items/${encodeURIComponent(id)}`;
