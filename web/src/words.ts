// How numbers and values are said to people.

import type { Json } from "./types";

export const percent = (part: number): string => `${Math.round(part * 100)} %`;
export const milliseconds = (ms: number): string => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

export function megabytes(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Say a value of the metadata. */
export function said(value: Json): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.every((part) => typeof part !== "object")) return value.join(", ");
  return JSON.stringify(value);
}
