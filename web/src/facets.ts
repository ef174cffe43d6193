// What one may filter by, told from a sample of items; and filters that grow condition by condition.

import type { Item, Json, JsonObject } from "./types";

const MOST_VALUES = 60;

export type Facet =
  | { field: string; kind: "values"; values: { value: Json; count: number }[] }
  | { field: string; kind: "number"; least: number; most: number }
  | { field: string; kind: "text" };

/** List the fields of the items' metadata, each with what it holds. */
export function facetsOf(items: Item[]): Facet[] {
  const held = new Map<string, Map<string | number | boolean, number>>();
  for (const item of items)
    for (const [field, value] of leaves(item.metadata)) {
      const counts = held.get(field) ?? new Map();
      counts.set(value, (counts.get(value) ?? 0) + 1);
      held.set(field, counts);
    }
  const facets = [...held].map(([field, counts]) => facetOf(field, counts, items.length));
  const order = ["values", "number", "text"];
  return facets.sort((one, other) => order.indexOf(one.kind) - order.indexOf(other.kind));
}

function facetOf(field: string, counts: Map<string | number | boolean, number>, numItems: number): Facet {
  const values = [...counts.keys()];
  if (values.every((value) => typeof value === "number")) {
    return { field, kind: "number", least: Math.min(...values), most: Math.max(...values) };
  }
  // What nearly every item has for itself, such as a caption or an address, nobody wants to choose from.
  if (values.length > MOST_VALUES || (values.length > 12 && values.length > 0.7 * numItems)) return { field, kind: "text" };
  const sorted = [...counts].sort(([one, a], [other, b]) => b - a || (String(one) < String(other) ? -1 : 1));
  return { field, kind: "values", values: sorted.map(([value, count]) => ({ value, count })) };
}

/** Yield the values that a filter sees: members of lists, and fields within objects as `outer.inner`. */
function* leaves(metadata: JsonObject, within = ""): Generator<[string, string | number | boolean]> {
  for (const [name, value] of Object.entries(metadata)) {
    for (const part of Array.isArray(value) ? value : [value]) {
      if (part === null || Array.isArray(part)) continue;
      if (typeof part === "object") yield* leaves(part, `${within}${name}.`);
      else yield [`${within}${name}`, part];
    }
  }
}

/** Put a condition on a field into a filter, or take it out; null when nothing is left. */
export function withCondition(filter: JsonObject | null, field: string, condition: Json | undefined): JsonObject | null {
  const { [field]: _, ...rest } = filter ?? {};
  const now = condition === undefined ? rest : { ...rest, [field]: condition };
  return Object.keys(now).length ? now : null;
}
