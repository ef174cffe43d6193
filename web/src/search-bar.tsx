// What is asked: words, a picture, or both; among pictures or captions.

import { useEffect, useState } from "preact/hooks";

import { usePicture } from "./hooks";
import { Close, Funnel, Glass, Picture } from "./icons";
import type { Query } from "./query";

interface Props {
  query: Query;
  file: File | null;
  canRerank: boolean;
  /** The least match that the bundle suggests; null when it suggests none. */
  minMatch: number | null;
  numFilters: number;
  isFiltering: boolean;
  onFilter: () => void;
  onAsk: (change: Partial<Query>) => void;
  onPicture: (file: File | null) => void;
  onLook: () => void;
}

export function SearchBar(props: Props) {
  const { query, file } = props;
  const [text, setText] = useState(query.text);
  useEffect(() => setText(query.text), [query.text]);
  return (
    <form
      class="search"
      role="search"
      autocomplete="off"
      onSubmit={(event) => {
        event.preventDefault();
        props.onAsk({ text });
      }}
    >
      <div class="bar">
        <Glass />
        {(file || query.like !== null) && <Chosen {...props} />}
        <input
          type="search"
          name="q"
          aria-label="What is in the picture?"
          placeholder={file || query.like !== null ? "…and in words, if you like" : "What is in the picture?"}
          enterkeyhint="search"
          maxlength={2000}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <label class="attach" title="Search with a picture: choose, drop or paste one">
          <input
            type="file"
            accept="image/*"
            class="unseen"
            aria-label="Search with a picture"
            onChange={(event) => {
              props.onPicture(event.currentTarget.files?.[0] ?? null);
              event.currentTarget.value = "";
            }}
          />
          <Picture />
        </label>
        <button class="go" type="submit">
          <Glass /> <span>Search</span>
        </button>
      </div>
      <div class="options">
        <fieldset class="choice">
          <legend class="unseen">Search among</legend>
          {(["image", "text"] as const).map((target) => (
            <label key={target}>
              <input
                type="radio"
                name="target"
                value={target}
                checked={query.target === target}
                onChange={() => props.onAsk({ text, target })}
              />
              <span>{target === "image" ? "Pictures" : "Captions"}</span>
            </label>
          ))}
        </fieldset>
        {props.canRerank && (
          <label class="switch" title="Score the best hits again with the fusion encoder: slower and finer">
            <input
              type="checkbox"
              role="switch"
              checked={query.rerank}
              onChange={(event) => props.onAsk({ text, rerank: event.currentTarget.checked })}
            />
            <span>Look twice</span>
          </label>
        )}
        {props.canRerank && query.rerank && props.minMatch !== null && (
          <label class="switch" title="Leave out hits that fit too badly; nothing is shown when nothing fits">
            <input
              type="checkbox"
              role="switch"
              checked={query.minMatch !== null}
              onChange={(event) => props.onAsk({ text, minMatch: event.currentTarget.checked ? props.minMatch : null })}
            />
            <span>Only what fits</span>
          </label>
        )}
        <button
          type="button"
          class={props.numFilters ? "quiet small on" : "quiet small"}
          aria-expanded={props.isFiltering}
          onClick={props.onFilter}
        >
          <Funnel /> Filter{props.numFilters ? ` (${props.numFilters})` : ""}
        </button>
      </div>
    </form>
  );
}

function Chosen({ query, file, onPicture, onLook }: Props) {
  const like = query.like === null ? null : { gallery: query.gallery, id: query.like };
  const source = usePicture(file ?? like);
  const name = file?.name ?? query.like;
  return (
    <div class="chosen">
      <button type="button" class="thumb" aria-label={`Look closer at ${name}`} title={`${name}: look closer`} onClick={onLook}>
        <img src={source || undefined} alt="" />
      </button>
      <button type="button" class="remove" aria-label="Remove the picture" onClick={() => onPicture(null)}>
        <Close />
      </button>
    </div>
  );
}
