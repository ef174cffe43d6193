// The page: what is asked, what was found, and what is open over it.

import { useEffect, useMemo, useState } from "preact/hooks";

import { AddDialog } from "./add-dialog";
import { call, Trouble } from "./api";
import { useDrops } from "./drops";
import { ActiveFilters, Filters } from "./filters";
import { find, isAsking, type Finding } from "./finding";
import { nameOfFile, useAnswer, useLatest, useTimed, type Answer } from "./hooks";
import { Pen, Plus } from "./icons";
import { KeyDialog } from "./key";
import { isPicture, type Found } from "./pictures";
import { addressOf, NOTHING, PER_PAGE, queryOf, type Query } from "./query";
import type { Entry } from "./results";
import { Running, RunningDialog } from "./running";
import { SearchBar } from "./search-bar";
import { Table } from "./table";
import { TroubleNote } from "./trouble";
import type { Info } from "./types";
import { Viewer, type Subject } from "./viewer";

/** Pictures of one's own that were searched with; an address cannot hold them, but the way back can find them here. */
const files = new Map<string, File>();

/** What is taken for granted until the server has said what it takes, so that nothing waits for that. */
const USUAL_LIMITS: Info["limits"] = {
  max_body_bytes: 10e6,
  max_bulk_bytes: 256e6,
  max_top_k: PER_PAGE,
  max_reranked: PER_PAGE,
};

export function App() {
  const [query, setQuery] = useState<Query>(() => queryOf(location.search));
  const [file, setFile] = useState<File | null>(null);
  const [looked, setLooked] = useState<File | "nothing" | null>(null);
  const [adding, setAdding] = useState<Found[] | null>(null);
  const [isTelling, setTelling] = useState(false);
  const [isFiltering, setFiltering] = useState(false);
  const [wrongFile, setWrongFile] = useState<Trouble | null>(null);
  const [numAdded, setNumAdded] = useState(0);

  const info = useAnswer<Info>(`info ${numAdded}`, (signal) => call<Info>("/info", { signal }), { keeps: true });
  const limits = info.value?.limits ?? USUAL_LIMITS;
  const { open, caption, ...asked } = query;
  const question = JSON.stringify([asked, Math.min(asked.count, limits.max_top_k), nameOfFile(file), numAdded]);
  const finding = useAnswer<Finding>(question, (signal) => find(query, file, limits, signal));
  const searched = useTimed(["/search"]);
  const lookedAt = [useTimed(["/ground"]), useTimed(["/proofread"]), useTimed(["/identify"])];

  const go = (change: Partial<Query>, { picture = file, isStep = true }: { picture?: File | null; isStep?: boolean } = {}) => {
    const now = { ...query, ...change };
    setQuery(now);
    setFile(picture);
    setWrongFile(null);
    if (picture) files.set(nameOfFile(picture), picture);
    history[isStep ? "pushState" : "replaceState"](nameOfFile(picture), "", addressOf(now));
  };
  /** Ask something else: from the top, and with nothing open. */
  const askFor = (change: Partial<Query>, picture: File | null = file) => {
    setLooked(null);
    go({ count: PER_PAGE, open: null, caption: null, ...change }, { picture });
    scrollTo({ top: 0 });
  };
  const searchWith = (picture: File | null) => {
    if (picture && !isPicture(picture)) setWrongFile(new Trouble("This is not a picture", picture.name));
    else askFor({ like: null }, picture);
  };
  const take = (found: Found[] | null, hasFolder: boolean) => {
    const [first] = found ?? [];
    if (found === null) setWrongFile(new Trouble("What was dropped cannot be read", "Choose it with “Add pictures” instead."));
    else if (adding !== null || hasFolder || found.length > 1) setAdding(found);
    else if (first && (looked !== null || open !== null) && isPicture(first.file)) setLooked(first.file);
    else if (first) searchWith(first.file);
  };

  const comeBack = useLatest(() => {
    setQuery(queryOf(location.search));
    setFile(files.get(String(history.state)) ?? null);
    setLooked(null);
  });
  useEffect(() => {
    addEventListener("popstate", comeBack);
    return () => removeEventListener("popstate", comeBack);
  }, []);
  const isDragging = useDrops(take);
  useEffect(() => {
    document.title = query.open ?? query.text ? `${query.open ?? query.text} · Vernier` : "Vernier";
  }, [query.open, query.text]);

  const entries = finding.value?.entries ?? [];
  const at = entries.findIndex(({ id }) => id === open);
  const subject: Subject | undefined =
    looked === "nothing" ? null : (looked ?? (open === null ? undefined : { gallery: query.gallery, id: open }));
  const entry = looked === null ? (entries[at] ?? null) : null;
  const close = () => {
    if (looked !== null) setLooked(null);
    else go({ open: null, caption: null });
  };
  return (
    <>
      <header class="top">
        <a class="skip" href="#hits">
          Skip to the results
        </a>
        <a
          class="brand"
          href="/"
          aria-label="Vernier, start page"
          onClick={(event) => {
            event.preventDefault();
            askFor({ ...NOTHING, gallery: query.gallery }, null);
          }}
        >
          <img src="/web/icon.svg" alt="" width="32" height="32" />
          <span>Vernier</span>
        </a>
        <Running info={info} gallery={query.gallery} timed={searched} onOpen={() => setTelling(true)} />
        <nav class="tools" aria-label="Tools">
          <GalleryChoice info={info} gallery={query.gallery} onGallery={(gallery) => askFor({ gallery, like: null, filter: null })} />
          <button type="button" class="quiet small" onClick={() => setLooked(file ?? "nothing")}>
            <Pen /> Check a caption
          </button>
          <button type="button" class="quiet small" onClick={() => setAdding([])}>
            <Plus /> Add pictures
          </button>
        </nav>
      </header>

      <main>
        <h1 class={isAsking(query, file) ? "unseen" : ""}>
          Search pictures by what is <em>exactly</em> in them
        </h1>
        <SearchBar
          query={query}
          file={file}
          canRerank={info.value?.bundle.rerank ?? false}
          minMatch={info.value?.bundle.min_match ?? null}
          numFilters={Object.keys(query.filter ?? {}).length}
          isFiltering={isFiltering}
          onFilter={() => setFiltering(!isFiltering)}
          onAsk={askFor}
          onPicture={searchWith}
          onLook={() => (file ? setLooked(file) : go({ open: query.like, caption: null }))}
        />
        {isFiltering && <Filters gallery={query.gallery} filter={query.filter} onFilter={(filter) => askFor({ filter })} />}
        <ActiveFilters filter={query.filter} onFilter={(filter) => askFor({ filter })} />
        {!isAsking(query, file) && !query.filter && <Examples entries={entries} onText={(text) => askFor({ text })} />}
        {wrongFile && <TroubleNote trouble={wrongFile} />}
        {info.trouble && !finding.trouble && <TroubleNote trouble={info.trouble} onRetry={info.again} />}
        <Table
          {...{ finding, query, file }}
          numItems={info.value?.galleries.find(({ name }) => name === query.gallery)?.items ?? 0}
          onAdd={() => setAdding([])}
          onUnfilter={() => askFor({ filter: null })}
          onMore={() => go({ count: query.count + PER_PAGE }, { isStep: false })}
          onOpen={(id) => go({ open: id, caption: null })}
          onAlike={(like) => askFor({ text: "", like, target: "image" }, null)}
        />
      </main>

      {isDragging && (
        <div class="drop" aria-hidden="true">
          <p>{adding ? "Drop to add" : "Drop a picture to search with it, a folder to add it"}</p>
        </div>
      )}
      {subject !== undefined && (
        <Viewer
          subject={subject}
          gallery={query.gallery}
          entry={entry}
          text={textFor(query, entry)}
          onText={(text) => looked === null && go({ caption: text }, { isStep: false })}
          onStep={
            entry && entries.length > 1
              ? (by) => go({ open: entries[(at + by + entries.length) % entries.length]!.id, caption: null }, { isStep: false })
              : null
          }
          onAlike={(picture) =>
            picture instanceof File
              ? askFor({ text: "", like: null, target: "image" }, picture)
              : askFor({ text: "", like: picture.id, target: "image" }, null)
          }
          onPicture={setLooked}
          onClose={close}
        />
      )}
      {adding && (
        <AddDialog
          gallery={query.gallery}
          limits={limits}
          found={adding}
          onFound={setAdding}
          onOpen={(id) => {
            setAdding(null);
            setNumAdded(numAdded + 1);
            setLooked(null);
            go({ open: id, caption: null });
          }}
          onClose={(hasAdded) => {
            setAdding(null);
            if (hasAdded) setNumAdded(numAdded + 1);
          }}
        />
      )}
      {isTelling && <RunningDialog info={info} timed={[searched, ...lookedAt]} onClose={() => setTelling(false)} />}
      <KeyDialog />
    </>
  );
}

/** What a picture is held against at first: what was written here, else what it was found by, else its own text. */
function textFor(query: Query, entry: Entry | null): string {
  if (query.caption !== null) return query.caption;
  return query.target === "text" ? (entry?.text ?? query.text) : query.text;
}

function GalleryChoice({ info, gallery, onGallery }: { info: Answer<Info>; gallery: string; onGallery: (name: string) => void }) {
  const galleries = info.value?.galleries ?? [];
  if (galleries.length < 2) return null;
  return (
    <label class="gallery">
      <span>Gallery</span>{" "}
      <select value={gallery} onChange={(event) => onGallery(event.currentTarget.value)}>
        {galleries.map(({ name }) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}

function Examples({ entries, onText }: { entries: Entry[]; onText: (text: string) => void }) {
  const texts = useMemo(() => {
    const short = new Set(entries.flatMap(({ text }) => (text && text.length < 60 ? [text] : [])));
    return [...short].sort((one, other) => one.length - other.length).slice(0, 4);
  }, [entries]);
  if (texts.length === 0) return null;
  return (
    <div class="examples" role="group" aria-label="Examples">
      {texts.map((text) => (
        <button key={text} type="button" class="chip" onClick={() => onText(text)}>
          {text}
        </button>
      ))}
    </div>
  );
}
