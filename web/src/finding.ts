// From what is asked to what is shown: a search, or the gallery itself when nothing is asked.

import { call, galleryPath } from "./api";
import { nameOfFile } from "./hooks";
import type { Query } from "./query";
import type { Entry } from "./results";
import type { Hit, Info, Item, JsonObject, Page, SearchAnswer } from "./types";

const MOST_RERANKED = 48;
const MOST_PER_PAGE = 1000;

export interface Finding {
  /** What was asked, however many hits of it were wanted. */
  of: string;
  entries: Entry[];
  /** How many items the gallery has, how long the search took, and how many hits fit too badly; null when nothing was asked. */
  searched: { items: number; ms: number; leftOut: number } | null;
  hasMore: boolean;
}

export const isAsking = (query: Query, file: File | null): boolean =>
  Boolean(query.text.trim() || file || query.like !== null);

export const topicOf = (query: Query, file: File | null): string =>
  JSON.stringify([{ ...query, count: 0, open: null, caption: null }, nameOfFile(file)]);

export async function find(query: Query, file: File | null, limits: Info["limits"], signal: AbortSignal): Promise<Finding> {
  return isAsking(query, file) ? search(query, file, limits, signal) : list(query, signal);
}

async function search(query: Query, file: File | null, limits: Info["limits"], signal: AbortSignal): Promise<Finding> {
  const topK = Math.min(query.count, limits.max_top_k);
  const body: JsonObject = { target: query.target, gallery: query.gallery, top_k: topK, include: ["metadata", "text"] };
  if (query.text.trim()) body.text = query.text;
  if (query.filter) body.filter = query.filter;
  if (query.like !== null) body.exclude_ids = [query.like];
  if (query.like !== null && !file) body.image = { item: query.like };
  // What is re-scored is a picture with a text: the other half of the pair must be in the query.
  const canRerank = query.target === "image" ? "text" in body : file !== null || query.like !== null;
  if (query.rerank && canRerank) {
    body.rerank = Math.min(topK, MOST_RERANKED, limits.max_reranked);
    if (query.minMatch !== null) body.min_match = query.minMatch;
  }
  const answer = await call<SearchAnswer>("/search", { body, file, signal });
  return {
    of: topicOf(query, file),
    entries: answer.hits.map(entryOfHit),
    searched: { items: answer.gallery.items, ms: answer.timings_ms.total ?? 0, leftOut: answer.left_out ?? 0 },
    hasMore: answer.hits.length === topK && topK < limits.max_top_k,
  };
}

async function list(query: Query, signal: AbortSignal): Promise<Finding> {
  const items: Item[] = [];
  let cursor: string | null = null;
  do {
    const asked = new URLSearchParams({ limit: String(Math.min(query.count - items.length, MOST_PER_PAGE)) });
    if (query.filter) asked.set("filter", JSON.stringify(query.filter));
    if (cursor !== null) asked.set("cursor", cursor);
    const page: Page = await call<Page>(`${galleryPath(query.gallery)}/items?${asked}`, { signal });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null && items.length < query.count);
  return { of: topicOf(query, null), entries: items.map(entryOfItem), searched: null, hasMore: cursor !== null };
}

function entryOfHit(hit: Hit): Entry {
  const { id, score, match = null, time_seconds: time = null, text = null, metadata = {} } = hit;
  return { id, score, match, time, text, metadata, hasPicture: true };
}

function entryOfItem({ id, text, metadata, has_picture }: Item): Entry {
  return { id, text, metadata, hasPicture: has_picture, score: null, match: null, time: null };
}
