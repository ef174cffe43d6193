// What is known of an item beside its picture.

import type { Entry } from "./results";
import type { Item } from "./types";
import { percent, said } from "./words";

export function Facts({ entry, item }: { entry: Entry | null; item: Item | null }) {
  const facts: [string, string][] = [];
  if (entry?.score != null) facts.push(["score", entry.score.toFixed(3)]);
  if (entry?.match != null) facts.push(["match", percent(entry.match)]);
  if (item?.text) facts.push(["text", item.text]);
  for (const [name, value] of Object.entries(item?.metadata ?? {})) if (value !== item?.text) facts.push([name, said(value)]);
  if (facts.length === 0) return null;
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
