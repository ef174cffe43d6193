// A picture with what was found in it: boxes, the heat of one phrase, and the part that is pointed at.

import { useEffect, useRef, useState } from "preact/hooks";

import type { Box, Grounding } from "./types";
import { percent } from "./words";

const HUES = ["#0f766e", "#6d28d9", "#be185d", "#1d4ed8", "#92400e", "#3f6212", "#9f1239", "#155e75"];
export const hueOf = (at: number): string => HUES[at % HUES.length]!;

/** A phrase that was found, with its colour. */
export interface Marking {
  key: string;
  hue: string;
  grounding: Grounding;
}

/** What is shown as warm: a phrase or a word, and how its map was made. */
export interface Warmth {
  name: string;
  grid: number[][];
  method: string | undefined;
}

/** A part of the picture, in fractions of its sides; a point has no extent. */
export type Part = Box;

interface Props {
  source: string | null;
  name: string;
  markings: Marking[];
  active: string | null;
  warmth: Warmth | null;
  imageSize: [number, number] | null;
  part: Part | null;
  /** What the part may be. */
  partName: string | null;
  onPart: (part: Part | null) => void;
  onSize: (size: [number, number]) => void;
}

export function Stage({ source, name, markings, active, warmth, imageSize, part, partName, onPart, onSize }: Props) {
  const [broken, setBroken] = useState<string | null>(null);
  const shown = active === null ? markings : markings.filter((marking) => marking.key === active);
  return (
    <div class="stage">
      {source !== null && (source === "" || source === broken) ? (
        <p class="words-only">This browser cannot show the picture.</p>
      ) : (
        <div class="frame" style={{ "--aspect": imageSize ? imageSize[0] / imageSize[1] : 1 }}>
          <img
            id="picture"
            src={source ?? undefined}
            alt={name}
            onLoad={({ currentTarget: image }) => onSize([image.naturalWidth, image.naturalHeight])}
            onError={() => setBroken(source)}
          />
          {warmth && <Heat {...warmth} />}
          {imageSize && shown.map((marking) => <Boxes key={marking.key} marking={marking} size={imageSize} />)}
          <Pointer part={part} name={partName} onPart={onPart} />
        </div>
      )}
    </div>
  );
}

/** Below this the phrase is hardly in the picture, and its box says so. */
const UNSURE = 0.1;

function Boxes({ marking, size: [width, height] }: { marking: Marking; size: [number, number] }) {
  const { grounding, hue } = marking;
  return (
    <>
      {grounding.boxes.map(({ box: [x0, y0, x1, y1], score }, at) => (
        <div
          key={at}
          class={`box${score < UNSURE ? " unsure" : ""}${y0 / height < 0.1 ? " inside" : ""}${x0 / width > 0.55 ? " leftward" : ""}`}
          data-phrase={grounding.phrase}
          style={{
            "--hue": hue,
            left: `${(x0 / width) * 100}%`,
            top: `${(y0 / height) * 100}%`,
            width: `${((x1 - x0) / width) * 100}%`,
            height: `${((y1 - y0) / height) * 100}%`,
          }}
        >
          <span>
            {grounding.phrase} <small>{percent(score)}</small>
          </span>
        </div>
      ))}
    </>
  );
}

// From cold to hot: violet, magenta, orange, pale yellow.
const RAMP = [
  [59, 15, 112],
  [182, 54, 121],
  [251, 135, 97],
  [252, 253, 191],
] as const;

const METHODS: Record<string, string> = {
  grad_cam: "what speaks for the match",
  attention: "where the words look",
  patch_similarity: "what looks like the words",
};

function Heat({ grid, name, method }: Warmth) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const rows = grid.length;
  const columns = grid[0]?.length ?? 0;
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || !rows || !columns) return;
    const image = context.createImageData(columns, rows);
    grid.flat().forEach((heat, at) => image.data.set(colourOf(heat), at * 4));
    context.putImageData(image, 0, 0);
  }, [grid]);
  return (
    <>
      <canvas ref={canvas} class="heat" width={columns} height={rows} role="img" aria-label={`Heat map of ${name}`} />
      <p class="scale" aria-hidden="true">
        <b>{name}</b> little <i /> much
        {method && METHODS[method] && <small>{METHODS[method]}</small>}
      </p>
    </>
  );
}

function colourOf(heat: number): number[] {
  const at = Math.min(0.999, Math.max(0, heat)) * (RAMP.length - 1);
  const [low, high] = [RAMP[Math.floor(at)]!, RAMP[Math.floor(at) + 1]!];
  const mixed = low.map((part, channel) => Math.round(part + (high[channel]! - part) * (at % 1)));
  return [...mixed, Math.round(215 * Math.min(1, Math.max(0, heat)) ** 0.8)];
}

const LEAST_DRAG_PX = 6;
const STEP = 0.04;
const START: Part = [0.38, 0.38, 0.62, 0.62];

/** The surface that is clicked or dragged over; with the keyboard a frame is moved and sized instead. */
function Pointer({ part, name, onPart }: { part: Part | null; name: string | null; onPart: (part: Part | null) => void }) {
  const [dragged, setDragged] = useState<Part | null>(null);
  const [framed, setFramed] = useState<Part | null>(null);
  const from = useRef<[number, number] | null>(null);
  const at = (event: PointerEvent & { currentTarget: HTMLElement }): [number, number] => {
    const { left, top, width, height } = event.currentTarget.getBoundingClientRect();
    const within = (value: number) => Math.min(1, Math.max(0, value));
    return [within((event.clientX - left) / width), within((event.clientY - top) / height)];
  };
  const partTo = (event: PointerEvent & { currentTarget: HTMLElement }): Part => {
    const [x, y] = at(event);
    const [x0, y0] = from.current ?? [x, y];
    const { width, height } = event.currentTarget.getBoundingClientRect();
    const isPoint = Math.abs(x - x0) * width < LEAST_DRAG_PX || Math.abs(y - y0) * height < LEAST_DRAG_PX;
    return isPoint ? [x, y, x, y] : [Math.min(x0, x), Math.min(y0, y), Math.max(x0, x), Math.max(y0, y)];
  };
  const drawn = dragged ?? framed ?? part;
  return (
    <>
      {drawn && (
        <div class={`part${isPoint(drawn) ? " point" : ""}${drawn[0] > 0.6 ? " leftward" : ""}`} style={styleOf(drawn)}>
          {name && drawn === part && <span>{name}?</span>}
        </div>
      )}
      <button
        type="button"
        class="pointer"
        aria-label="What is this? Click a thing in the picture, or draw a frame around it. With the keyboard: arrow keys move a frame, plus and minus size it, Enter asks."
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          setFramed(null);
          from.current = at(event);
          if (event.pointerType !== "touch") event.currentTarget.setPointerCapture(event.pointerId);
        }}
        onPointerMove={(event) => from.current && event.pointerType !== "touch" && setDragged(partTo(event))}
        onPointerCancel={() => {
          from.current = null;
          setDragged(null);
        }}
        onPointerUp={(event) => {
          if (from.current) onPart(event.pointerType === "touch" ? [...at(event), ...at(event)] : partTo(event));
          from.current = null;
          setDragged(null);
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" || event.key === " ") onPart(framed ?? START);
          else {
            const moved = movedBy(event.key, framed ?? START);
            if (!moved) return;
            setFramed(moved);
          }
          event.preventDefault();
        }}
        onBlur={() => setFramed(null)}
      />
    </>
  );
}

const isPoint = (part: Part): boolean => part[0] === part[2];

function styleOf([x0, y0, x1, y1]: Part) {
  return { left: `${x0 * 100}%`, top: `${y0 * 100}%`, width: `${(x1 - x0) * 100}%`, height: `${(y1 - y0) * 100}%` };
}

/** Move or size a frame by a key; it stays within the picture. Null for keys that do neither. */
function movedBy(key: string, [x0, y0, x1, y1]: Part): Part | null {
  const [dx, dy, grow] = (
    {
      ArrowLeft: [-STEP, 0, 0],
      ArrowRight: [STEP, 0, 0],
      ArrowUp: [0, -STEP, 0],
      ArrowDown: [0, STEP, 0],
      "+": [0, 0, STEP / 2],
      "=": [0, 0, STEP / 2],
      "-": [0, 0, -STEP / 2],
    } as Record<string, [number, number, number]>
  )[key] ?? [0, 0, 0];
  if (!dx && !dy && !grow) return null;
  const half = (side: number) => Math.min(0.5, Math.max(STEP, side / 2 + grow));
  const [across, down] = [half(x1 - x0), half(y1 - y0)];
  const x = Math.min(1 - across, Math.max(across, (x0 + x1) / 2 + dx));
  const y = Math.min(1 - down, Math.max(down, (y0 + y1) / 2 + dy));
  return [x - across, y - down, x + across, y + down];
}
