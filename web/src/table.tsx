// What was found, or what stands in its place: waiting, slowness, trouble, nothing.

import { isAsking, topicOf, type Finding } from "./finding";
import type { Answer } from "./hooks";
import { Plus } from "./icons";
import type { Query } from "./query";
import { Ghosts, Results } from "./results";
import { TroubleNote } from "./trouble";
import { milliseconds } from "./words";

interface TableProps {
  finding: Answer<Finding>;
  query: Query;
  file: File | null;
  /** How many items the gallery has, as far as is known. */
  numItems: number;
  onAdd: () => void;
  onUnfilter: () => void;
  onMore: () => void;
  onOpen: (id: string) => void;
  onAlike: (id: string) => void;
}

export function Table(props: TableProps) {
  const { finding, query, file, numItems, onAdd, onUnfilter, onMore, onOpen, onAlike } = props;
  const { state, value, trouble } = finding;
  const isWaiting = state === "waiting" || state === "slow";
  // More of the same is put below what is there; another question makes a clean table.
  const isMore = isWaiting && value !== null && value.of === topicOf(query, file);
  const isEmpty = state === "done" && value?.entries.length === 0;
  const isFilteredOut = numItems > 0 && query.filter !== null;
  return (
    <section id="hits" tabIndex={-1} aria-label="What was found">
      <p class="state" role="status">
        {state === "slow" && "Still working …"}
        {state === "waiting" && (isAsking(query, file) ? "Searching …" : "Loading …")}
        {state === "done" && value && saidOf(value, numItems, isFilteredOut)}
      </p>
      {trouble && <TroubleNote trouble={trouble} onRetry={finding.again} />}
      {isEmpty && (
        <div class="empty">
          {isFilteredOut ? (
            <button type="button" class="quiet" onClick={onUnfilter}>
              Lift the filter
            </button>
          ) : (
            <button type="button" class={numItems > 0 ? "quiet" : "go"} onClick={onAdd}>
              <Plus /> Add pictures
            </button>
          )}
        </div>
      )}
      {isWaiting && !isMore && <Ghosts />}
      {(!isWaiting || isMore) && value && (
        <Results entries={value.entries} gallery={query.gallery} isStale={isMore} onOpen={onOpen} onAlike={onAlike} />
      )}
      {value?.hasMore && (!isWaiting || isMore) && (
        <div class="more">
          <button type="button" class="quiet" disabled={isMore} onClick={onMore}>
            Show more
          </button>
        </div>
      )}
    </section>
  );
}

function saidOf({ entries, searched }: Finding, numItems: number, isFilteredOut: boolean): string {
  if (entries.length === 0) {
    if (searched?.leftOut) return "Nothing fits. The nearest pictures differ from what was asked.";
    if (isFilteredOut) return "Nothing was found. No item passes the filter.";
    return numItems > 0 ? "Nothing was found. Try other words." : "This gallery is empty.";
  }
  return searched
    ? `The best ${entries.length} of ${searched.items.toLocaleString("en")} in ${milliseconds(searched.ms)}`
    : "";
}
