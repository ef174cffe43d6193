// What the server says, as docs/http.md has it; only what the page reads.

export type Target = "image" | "text";
export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
export type JsonObject = { [name: string]: Json };
export type Box = [number, number, number, number];

export interface Hit {
  id: string;
  score: number;
  match?: number;
  /** Of a video: when the best frame is shown. */
  time_seconds?: number;
  metadata?: JsonObject;
  text?: string | null;
}

export interface SearchAnswer {
  hits: Hit[];
  left_out?: number;
  gallery: { name: string; items: number; version: number };
  timings_ms: Record<string, number>;
}

export interface Item {
  id: string;
  text: string | null;
  metadata: JsonObject;
  has_picture: boolean;
}

export interface Page {
  items: Item[];
  next_cursor: string | null;
}

export interface Grounding {
  phrase: string;
  start: number;
  end: number;
  boxes: { box: Box; score: number }[];
  heatmap: number[][];
}

/** Where one word is; all words of a text on one scale. */
export interface GroundedWord {
  word: string;
  start: number;
  end: number;
  heatmap: number[][];
}

export interface GroundAnswer {
  groundings: Grounding[];
  words?: GroundedWord[];
  heatmap_method?: string;
  image_size: [number, number];
}

export interface Word {
  word: string;
  start: number;
  end: number;
  error_probability: number;
  is_error: boolean;
  suggestions: { word: string; probability: number }[];
}

export interface ProofreadAnswer {
  words: Word[];
  corrected_text: string;
  match: number;
}

export interface IdentifyAnswer {
  names: { phrase: string; score: number }[];
  box: Box;
  image_size: [number, number];
  source: "request" | "gallery" | "bundle";
}

export interface Gallery {
  name: string;
  items: number;
  version: number;
  index_kind: string;
  read_only: boolean;
}

export interface Info {
  version: string;
  bundle: { name: string; space: string; dim: number; recipe: string; grounding: string; heatmaps: string; proofreading: string; rerank: boolean; min_match: number | null };
  graphs: Record<string, { provider: string; precision: string }>;
  provider_fallback: string | null;
  threads: Record<string, number>;
  galleries: Gallery[];
  limits: { max_body_bytes: number; max_bulk_bytes: number; max_top_k: number; max_reranked: number };
}

export interface Problem {
  title: string;
  detail: string;
  code: string;
  status: number;
}

export interface BulkAnswer {
  results: { id: string | null; outcome?: "created" | "replaced" | "unchanged"; problem?: Problem }[];
}
