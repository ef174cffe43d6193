// A part of a picture: what it is asked by, what it may be, and itself as a picture.

import { useEffect, useRef } from "preact/hooks";

import type { Answer } from "./hooks";
import type { Part } from "./stage";
import { TroubleNote } from "./trouble";
import type { IdentifyAnswer, JsonObject } from "./types";

interface WhatProps {
  what: Answer<IdentifyAnswer>;
  part: Part | null;
  setPart: (part: Part | null) => void;
  setPhrase: (phrase: string) => void;
  onSearch: () => void;
}

export function WhatIsThis({ what, part, setPart, setPhrase, onSearch }: WhatProps) {
  const names = what.value?.names ?? [];
  const [best, least] = [names[0]?.score ?? 1, names.at(-1)?.score ?? 0];
  const here = useRef<HTMLElement>(null);
  useEffect(() => {
    if (what.value && matchMedia("(min-width: 801px)").matches) here.current?.scrollIntoView({ block: "nearest" });
  }, [what.value]);
  return (
    <section aria-label="What is this?" class="what" ref={here}>
      <h3>What is this?</h3>
      {!part && <p class="hint">Click a thing in the picture, or draw a frame around it.</p>}
      <div aria-live="polite">
        {part && !what.value && !what.trouble && <p class="hint">{what.state === "slow" ? "Still looking …" : "Looking …"}</p>}
        {what.trouble && <TroubleNote trouble={what.trouble} onRetry={what.again} />}
        {part && what.value && (
          <>
            <ol class="names">
              {names.map(({ phrase, score }) => (
                <li key={phrase}>
                  <button type="button" title="Find it in the picture" onClick={() => setPhrase(phrase)}>
                    <span>{phrase}</span>
                    <i style={{ "--part": (0.2 + (0.8 * (score - least)) / Math.max(best - least, 1e-6)).toFixed(3) }} />
                    <small>{score.toFixed(2)}</small>
                  </button>
                </li>
              ))}
            </ol>
            <p class="hint">
              {what.value.source === "gallery" ? "The gallery's own words" : "The model's own words"}, best first.
            </p>
          </>
        )}
      </div>
      {part && (
        <p class="row">
          {part[0] !== part[2] && (
            <button type="button" class="quiet small" onClick={onSearch}>
              Search with this part
            </button>
          )}
          <button type="button" class="quiet small" onClick={() => setPart(null)}>
            Never mind
          </button>
        </p>
      )}
    </section>
  );
}

/** Give a part as `/identify` wants it. */
export function inPixels([x0, y0, x1, y1]: Part, [width, height]: [number, number]): JsonObject {
  const inside = (fraction: number, side: number) => Math.min(side - 0.5, Math.max(0, fraction * side));
  if (x0 === x1) return { point: [inside(x0, width), inside(y0, height)] };
  return { box: [x0 * width, y0 * height, x1 * width, y1 * height] };
}

/** Cut a part out of a picture, as a picture of its own. */
export async function cut(source: string, [x0, y0, x1, y1]: Part): Promise<File> {
  const whole = new Image();
  whole.src = source;
  await whole.decode();
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round((x1 - x0) * whole.naturalWidth));
  canvas.height = Math.max(1, Math.round((y1 - y0) * whole.naturalHeight));
  canvas.getContext("2d")!.drawImage(whole, -x0 * whole.naturalWidth, -y0 * whole.naturalHeight);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  return new File([blob!], "part.png", { type: "image/png" });
}
