// A text read against a picture: its words coloured by how wrong they seem, its phrases in the colours of their boxes.

import type { ComponentChildren } from "preact";

import type { Marking } from "./stage";
import type { ProofreadAnswer, Word } from "./types";
import { percent } from "./words";

interface Props {
  text: string;
  proof: ProofreadAnswer;
  markings: Marking[];
  onPoint: (key: string | null) => void;
  /** A word is pointed at, by where it starts. */
  onWord: (start: number | null) => void;
  onText: (text: string) => void;
}

export function Reading({ text, proof, markings, onPoint, onWord, onText }: Props) {
  const wrong = proof.words.filter((word) => word.is_error);
  return (
    <>
      <p class="reading">{marked(text, proof.words, markings, onPoint, onWord)}</p>
      <p class="verdict">
        {wrong.length === 0
          ? "Every word fits the picture."
          : `${wrong.length === 1 ? "One word does" : `${wrong.length} words do`} not fit the picture.`}
        <span class="legend" aria-hidden="true">
          fits <i /> wrong
        </span>
      </p>
      {wrong.length > 0 && (
        <ul class="advice" aria-label="Suggestions">
          {wrong.map((word) => (
            <Advice key={word.start} {...{ text, word, onText }} />
          ))}
        </ul>
      )}
      {wrong.length > 1 && proof.corrected_text !== text && (
        <button type="button" class="quiet small" onClick={() => onText(proof.corrected_text)}>
          Take all first suggestions
        </button>
      )}
      <div class="match">
        <span id="match-name">Match</span>
        <meter aria-labelledby="match-name" min={0} max={1} low={0.35} high={0.65} optimum={1} value={proof.match} />
        <b>{percent(proof.match)}</b>
      </div>
    </>
  );
}

function Advice({ text, word, onText }: { text: string; word: Word; onText: (text: string) => void }) {
  return (
    <li>
      <s>{word.word}</s>
      <small>{percent(word.error_probability)} wrong</small>
      {word.suggestions.map((suggestion) => (
        <button
          key={suggestion.word}
          type="button"
          class="chip"
          aria-label={`Replace ${word.word} with ${suggestion.word}`}
          onClick={() => onText(text.slice(0, word.start) + suggestion.word + text.slice(word.end))}
        >
          {suggestion.word} <small>{percent(suggestion.probability)}</small>
        </button>
      ))}
    </li>
  );
}

/** Cut the text into phrases, words and what is between. Phrases do not overlap: of two that do, the first counts. */
function marked(
  text: string,
  words: Word[],
  markings: Marking[],
  onPoint: Props["onPoint"],
  onWord: Props["onWord"],
): ComponentChildren[] {
  const out: ComponentChildren[] = [];
  let at = 0;
  const wordsUntil = (until: number): ComponentChildren[] => {
    const parts: ComponentChildren[] = [];
    for (const word of words.filter(({ start, end }) => start >= at && end <= until)) {
      parts.push(text.slice(at, word.start), <JudgedWord key={word.start} word={word} onWord={onWord} />);
      at = word.end;
    }
    parts.push(text.slice(at, until));
    at = until;
    return parts;
  };
  for (const { key, hue, grounding } of markings) {
    if (grounding.start < at) continue;
    out.push(...wordsUntil(grounding.start));
    out.push(
      <span
        key={key}
        class="phrase"
        style={{ "--hue": hue }}
        onMouseEnter={() => onPoint(key)}
        onMouseLeave={() => onPoint(null)}
      >
        {wordsUntil(grounding.end)}
      </span>,
    );
  }
  out.push(...wordsUntil(text.length));
  return out;
}

function JudgedWord({ word, onWord }: { word: Word; onWord: Props["onWord"] }) {
  const probability = word.error_probability;
  // A bundle may call a word wrong from a low probability on; it is coloured as wrong all the same.
  const shade = word.is_error ? Math.max(0.5, probability) : Math.min(0.5, probability);
  return (
    <button
      type="button"
      class={word.is_error ? "word error" : "word"}
      style={{ "--p": shade.toFixed(3) }}
      title={`${percent(probability)} likely to be wrong`}
      onMouseEnter={() => onWord(word.start)}
      onMouseLeave={() => onWord(null)}
      onFocus={() => onWord(word.start)}
      onBlur={() => onWord(null)}
    >
      {word.word}
      {word.is_error && <span class="unseen"> (likely wrong)</span>}
    </button>
  );
}
