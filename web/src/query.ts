// What is asked for, and the address that carries it.

import type { JsonObject, Target } from "./types";

export const PER_PAGE = 24;

export interface Query {
  text: string;
  /** An item whose like is wanted. */
  like: string | null;
  target: Target;
  gallery: string;
  rerank: boolean;
  /** The least match of hits that are shown; null shows all. */
  minMatch: number | null;
  filter: JsonObject | null;
  count: number;
  /** The item that is looked at closely. */
  open: string | null;
  /** What it is held against, where that is not what it was found by. */
  caption: string | null;
}

export const NOTHING: Query = {
  text: "",
  like: null,
  target: "image",
  gallery: "default",
  rerank: false,
  minMatch: null,
  filter: null,
  count: PER_PAGE,
  open: null,
  caption: null,
};

export function queryOf(address: string): Query {
  const given = new URLSearchParams(address);
  const count = Number(given.get("count"));
  return {
    text: given.get("q") ?? "",
    like: given.get("like"),
    target: given.get("target") === "text" ? "text" : "image",
    gallery: given.get("gallery") ?? "default",
    rerank: given.get("rerank") === "1",
    minMatch: probabilityOf(given.get("min_match")),
    filter: filterOf(given.get("filter") ?? ""),
    count: Number.isInteger(count) && count > PER_PAGE ? count : PER_PAGE,
    open: given.get("open"),
    caption: given.get("caption"),
  };
}

export function addressOf(query: Query): string {
  const said = new URLSearchParams();
  if (query.text) said.set("q", query.text);
  if (query.like !== null) said.set("like", query.like);
  if (query.target !== "image") said.set("target", query.target);
  if (query.gallery !== "default") said.set("gallery", query.gallery);
  if (query.rerank) said.set("rerank", "1");
  if (query.minMatch !== null) said.set("min_match", String(query.minMatch));
  if (query.filter) said.set("filter", JSON.stringify(query.filter));
  if (query.count > PER_PAGE) said.set("count", String(query.count));
  if (query.open !== null) said.set("open", query.open);
  if (query.caption !== null) said.set("caption", query.caption);
  return said.size ? `/?${said}` : "/";
}

function probabilityOf(text: string | null): number | null {
  const read = text ? Number(text) : NaN;
  return read >= 0 && read <= 1 ? read : null;
}

/** Read a filter that somebody wrote; null when it is none. Whether it can be obeyed, the server says. */
export function filterOf(text: string): JsonObject | null {
  try {
    const read: unknown = JSON.parse(text);
    const isObject = typeof read === "object" && read !== null && !Array.isArray(read);
    return isObject && Object.keys(read).length > 0 ? (read as JsonObject) : null;
  } catch {
    return null;
  }
}
