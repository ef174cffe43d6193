// Adding pictures to a gallery: in bulk writes of a few at a time, each picture with its own outcome.

import { call, galleryPath, Trouble } from "./api";
import type { Found } from "./pictures";
import type { BulkAnswer, Info } from "./types";
import { megabytes } from "./words";

export interface Outcome {
  path: string;
  outcome: "created" | "replaced" | "unchanged" | "failed";
  problem: string | null;
}

const MOST_AT_ONCE = 8;
const MOST_BYTES_AT_ONCE = 16e6;
const MOST_TRIES = 6;

/**
 * Add pictures under their paths. A server that has too much to do is waited for; what cannot be stored is told and
 * stops nothing else. Adding the same again changes nothing, so that what was stopped can be begun anew.
 */
export async function addPictures(
  found: Found[],
  { gallery, limits, signal, onOutcomes }: {
    gallery: string;
    limits: Info["limits"];
    signal: AbortSignal;
    onOutcomes: (outcomes: Outcome[]) => void;
  },
): Promise<void> {
  const failed = ({ path }: Found, problem: string): Outcome => ({ path, outcome: "failed", problem });
  const isTooLarge = ({ file }: Found) => file.size > limits.max_body_bytes;
  onOutcomes(
    found.filter(isTooLarge).map((one) => failed(one, `It has ${megabytes(one.file.size)}; at most ${megabytes(limits.max_body_bytes)} are taken.`)),
  );
  const most = Math.min(MOST_BYTES_AT_ONCE, limits.max_bulk_bytes * 0.9);
  for (const some of portions(found.filter((one) => !isTooLarge(one)), most)) {
    const answer = await send(some, gallery, signal);
    onOutcomes(
      some.map((one, at) => {
        const { outcome, problem } = answer.results[at] ?? {};
        return outcome ? { path: one.path, outcome, problem: null } : failed(one, problem?.detail ?? "No answer came.");
      }),
    );
  }
}

function* portions(found: Found[], mostBytes: number): Generator<Found[]> {
  let some: Found[] = [];
  let bytes = 0;
  for (const one of found) {
    if (some.length === MOST_AT_ONCE || (some.length > 0 && bytes + one.file.size > mostBytes)) {
      yield some;
      [some, bytes] = [[], 0];
    }
    some.push(one);
    bytes += one.file.size;
  }
  if (some.length) yield some;
}

async function send(some: Found[], gallery: string, signal: AbortSignal): Promise<BulkAnswer> {
  const form = new FormData();
  const items = some.map(({ path }, at) => ({ id: path, file: `picture-${at}` }));
  form.append("items", new Blob([JSON.stringify(items)], { type: "application/json" }));
  some.forEach(({ file }, at) => form.append(`picture-${at}`, file, `picture-${at}`));
  for (let attempt = 1; ; attempt++) {
    try {
      return await call<BulkAnswer>(`${galleryPath(gallery)}/items`, { form, signal });
    } catch (error) {
      const isBusy = error instanceof Trouble && (error.status === 429 || error.status === 503);
      if (!isBusy || attempt === MOST_TRIES) throw error;
      await pause((error.retryAfterS ?? attempt) * 1000, signal);
    }
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });
}
