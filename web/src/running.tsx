// What is running: the model, where it runs, the galleries, and how long the last answers took.

import { useEffect } from "preact/hooks";

import type { Timed } from "./api";
import { Dialog } from "./dialog";
import type { Answer } from "./hooks";
import { TroubleNote } from "./trouble";
import type { Info } from "./types";
import { counted, milliseconds } from "./words";

const REFRESH_MS = 5000;

export const providersOf = (info: Info): string =>
  [...new Set(Object.values(info.graphs).map(({ provider }) => provider))].join(", ");

/** The line in the head of the page; it opens the rest. */
export function Running({ info, gallery, timed, onOpen }: {
  info: Answer<Info>;
  gallery: string;
  timed: Timed | null;
  onOpen: () => void;
}) {
  if (!info.value) return null;
  const served = info.value.galleries.find(({ name }) => name === gallery);
  return (
    <button type="button" class="running" aria-label="What is running" title="What is running" onClick={onOpen}>
      {info.value.provider_fallback && <b class="wrong">!</b>}
      <span>
        model <b>{info.value.bundle.name}</b>
      </span>
      <span>
        pictures <b>{served ? served.items.toLocaleString("en") : "none"}</b>
      </span>
      <span>
        on <b>{providersOf(info.value)}</b>
      </span>
      {timed && (
        <span>
          in <b>{milliseconds(timed.serverMs)}</b>
        </span>
      )}
    </button>
  );
}

export function RunningDialog({ info, timed, onClose }: { info: Answer<Info>; timed: (Timed | null)[]; onClose: () => void }) {
  useEffect(() => {
    const timer = setInterval(info.again, REFRESH_MS);
    return () => clearInterval(timer);
  }, [info.again]);
  return (
    <Dialog title="What is running" kind="adding" onClose={onClose}>
      <div class="dialog-body">
        {info.trouble && <TroubleNote trouble={info.trouble} onRetry={info.again} />}
        {info.value && <Told info={info.value} />}
        {timed.map((one) => one && <Stages key={one.path} timed={one} />)}
      </div>
    </Dialog>
  );
}

function Told({ info }: { info: Info }) {
  const { bundle } = info;
  const graphs = Object.entries(info.graphs).map(([name, { provider, precision }]) => `${name} on ${provider}, ${precision}`);
  const facts: [string, string][] = [
    ["Model", `${bundle.name} (${bundle.recipe})`],
    ["Space", `${bundle.space.slice(0, 12)}…, ${bundle.dim} dimensions`],
    ["Graphs", graphs.join("; ")],
    ["Finds phrases by", bundle.grounding.replaceAll("_", " ")],
    ["Maps words by", bundle.heatmaps.replaceAll("_", " ")],
    ["Judges words by", bundle.proofreading.replaceAll("_", " ")],
    ["Threads", `${info.threads.engine} for the engine, of ${counted(info.threads.cores ?? 0, "core")}`],
    ["Version", info.version],
  ];
  return (
    <>
      {info.provider_fallback && (
        <div class="trouble" role="alert">
          <strong>It runs elsewhere than was asked for</strong>
          <span>{info.provider_fallback}</span>
        </div>
      )}
      <dl class="facts wide">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <h3>Galleries</h3>
      <ul class="plain">
        {info.galleries.map(({ name, items, version, index_kind, read_only }) => (
          <li key={name}>
            <b>{name}</b>: {counted(items, "item")}, {index_kind} index, version {version}
            {read_only ? ", read only" : ""}
          </li>
        ))}
      </ul>
    </>
  );
}

function Stages({ timed }: { timed: Timed }) {
  const most = Math.max(...timed.stages.map(([, ms]) => ms), 0.1);
  return (
    <section class="stages" aria-label={`Times of ${timed.path}`}>
      <h3>
        Last <code>{timed.path}</code>: {milliseconds(timed.serverMs)} on the server, {milliseconds(timed.roundTripMs)} seen from
        here
      </h3>
      <dl>
        {timed.stages.map(([name, ms]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <i style={{ "--part": (ms / most).toFixed(3) }} /> {milliseconds(ms)}
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
