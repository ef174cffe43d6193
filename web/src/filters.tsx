// Conditions on the metadata: offered from what the gallery's items have, or written as JSON.

import { useEffect, useState } from "preact/hooks";

import { call, galleryPath } from "./api";
import { facetsOf, withCondition, type Facet } from "./facets";
import { useAnswer } from "./hooks";
import { filterOf } from "./query";
import { TroubleNote } from "./trouble";
import type { Json, JsonObject, Page } from "./types";
import { said } from "./words";

const SAMPLE = 300;

interface Props {
  gallery: string;
  filter: JsonObject | null;
  onFilter: (filter: JsonObject | null) => void;
}

export function Filters({ gallery, filter, onFilter }: Props) {
  const sample = useAnswer(gallery, (signal) =>
    call<Page>(`${galleryPath(gallery)}/items?limit=${SAMPLE}`, { signal }),
  );
  const facets = facetsOf(sample.value?.items ?? []);
  const change = (field: string, condition: Json | undefined) => onFilter(withCondition(filter, field, condition));
  return (
    <section class="filters" aria-label="Filter by metadata">
      {sample.state === "waiting" && <p class="hint">Looking at what there is to filter by …</p>}
      {sample.trouble && <TroubleNote trouble={sample.trouble} onRetry={sample.again} />}
      {sample.state === "done" && facets.length === 0 && <p class="hint">The items of this gallery have no metadata.</p>}
      <div class="facets">
        {facets.map((facet) => (
          <FacetField key={facet.field} facet={facet} condition={filter?.[facet.field]} onChange={change} />
        ))}
      </div>
      <AsJson filter={filter} onFilter={onFilter} />
    </section>
  );
}

interface FieldProps {
  facet: Facet;
  condition: Json | undefined;
  onChange: (field: string, condition: Json | undefined) => void;
}

function FacetField({ facet, condition, onChange }: FieldProps) {
  const { field } = facet;
  return (
    <fieldset class="facet">
      <legend>{field}</legend>
      {facet.kind === "values" && <Values {...{ facet, condition, onChange }} />}
      {facet.kind === "number" && <Range {...{ facet, condition, onChange }} />}
      {facet.kind === "text" && (
        <input
          type="text"
          aria-label={`${field} is exactly`}
          placeholder="is exactly …"
          value={typeof condition === "string" ? condition : ""}
          onChange={(event) => onChange(field, event.currentTarget.value || undefined)}
        />
      )}
    </fieldset>
  );
}

function Values({ facet, condition, onChange }: FieldProps & { facet: Extract<Facet, { kind: "values" }> }) {
  const given = condition as { in?: Json[] } | undefined;
  const wanted = given?.in ?? [];
  const toggle = (value: Json, isOn: boolean) => {
    const now = isOn ? [...wanted, value] : wanted.filter((other) => other !== value);
    onChange(facet.field, now.length ? { in: now } : undefined);
  };
  return (
    <div class="values">
      {facet.values.map(({ value, count }) => (
        <label key={String(value)} class="value">
          <input
            type="checkbox"
            checked={wanted.includes(value)}
            onChange={(event) => toggle(value, event.currentTarget.checked)}
          />
          <span>{said(value)}</span> <small title={`in ${count} of the first ${SAMPLE} items`}>{count}</small>
        </label>
      ))}
    </div>
  );
}

function Range({ facet, condition, onChange }: FieldProps & { facet: Extract<Facet, { kind: "number" }> }) {
  const bounds = (typeof condition === "object" ? condition : {}) as Record<string, number>;
  const set = (name: "gte" | "lte", text: string) => {
    const { [name]: _, ...rest } = bounds;
    const now = text === "" ? rest : { ...rest, [name]: Number(text) };
    onChange(facet.field, Object.keys(now).length ? now : undefined);
  };
  const bound = (name: "gte" | "lte", label: string, hint: number) => (
    <input
      type="number"
      step="any"
      aria-label={`${facet.field} ${label}`}
      placeholder={`${label} ${hint}`}
      value={bounds[name] ?? ""}
      onChange={(event) => set(name, event.currentTarget.value)}
    />
  );
  return (
    <div class="range">
      {bound("gte", "from", facet.least)} {bound("lte", "to", facet.most)}
    </div>
  );
}

function AsJson({ filter, onFilter }: Omit<Props, "gallery">) {
  const [text, setText] = useState("");
  const [isWrong, setWrong] = useState(false);
  useEffect(() => setText(filter ? JSON.stringify(filter) : ""), [filter]);
  return (
    <details class="as-json">
      <summary>As JSON</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const read = filterOf(text);
          setWrong(read === null && text.trim() !== "");
          if (read !== null || text.trim() === "") onFilter(read);
        }}
      >
        <textarea
          rows={2}
          spellcheck={false}
          aria-label="Filter as JSON"
          aria-invalid={isWrong}
          placeholder={'{"or": [{"things": {"gte": 4}}, {"not": {"kinds": "fish"}}]}'}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <button type="submit" class="quiet small">
          Apply
        </button>
      </form>
      {isWrong && <p class="wrong" role="alert">This is no JSON object. A filter looks like {'{"things": {"gte": 4}}'}.</p>}
    </details>
  );
}

/** The conditions in force, each with a button that lifts it. */
export function ActiveFilters({ filter, onFilter }: Omit<Props, "gallery">) {
  if (!filter) return null;
  return (
    <ul class="active" aria-label="Filters in force">
      {Object.entries(filter).map(([field, condition]) => (
        <li key={field}>
          <button
            type="button"
            class="chip"
            aria-label={`Lift the filter ${field} ${saidCondition(condition)}`}
            onClick={() => onFilter(withCondition(filter, field, undefined))}
          >
            <b>{field}</b> {saidCondition(condition)} <span aria-hidden="true">×</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

const SIGNS: Record<string, string> = { gte: "≥", lte: "≤", gt: ">", lt: "<" };

function saidCondition(condition: Json): string {
  if (typeof condition !== "object" || condition === null || Array.isArray(condition)) return said(condition);
  const parts = Object.entries(condition).map(([name, value]) => {
    if (name === "in") return said(value).replaceAll(", ", " or ");
    return name in SIGNS ? `${SIGNS[name]} ${said(value)}` : `${name} ${said(value)}`;
  });
  return parts.join(", ");
}
