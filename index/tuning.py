"""Makes the index of a large target from the gallery's file, and tunes it to find what exact search finds.

Recall@10 is measured: for a sample of queries, the share of the ten best items of exact search over the vectors as they
stand in the file that the search finds too, through candidates and with vectors kept as they will be; `sampling.py`
says which queries. An effort is taken when the lower bound of its recall (one-sided, 95 %) is what is wanted; of all
kinds and efforts that find enough, the one that takes the least time. Whatever is chosen also finds an item that is
unlike all others, by its own vector, as soon as it is added.

Searches and writes go on meanwhile.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from index.candidates import Candidates, Effort, Fit, Graph, KindName, Lists
from index.codecs import Codec, CodecName
from index.codes_file import CodesFile
from index.large_index import LargeIndex
from index.memory import Memory
from index.records import Target
from index.region import Bytes
from index.sampling import TOP_K, Sample, draw, merged, no_answers, recall_of
from index.state import State
from index.vectors import FlatVectors, Rows, use_one_thread

RECALL_WANTED = 0.95

GRAPH_UP_TO = 250_000
"""Up to so many vectors a graph is tried as well; with more it takes minutes to make, and gigabytes of memory."""

_QUERIES_AT_ONCE = 8
_MORE_ROUNDS = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was chosen for one target, and what it does.

    Attributes:
        kind: `flat` when nothing else found enough or saved anything, so that every search stays exact.
        vectors: how vectors are kept.
        effort: of the search through candidates; None when exact.
        recall: recall@10 of the sample.
        queries_per_cpu_s: searches for ten hits, eight at once, that a core does in a second.
        exact_queries_per_cpu_s: the same of exact search.
        tried: searches a second of every kind that found enough, at its best.
    """

    target: Target
    kind: str
    vectors: CodecName
    num_vectors: int
    effort: Effort | None
    recall: float
    queries_per_cpu_s: float
    exact_queries_per_cpu_s: float
    tried: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    fit: Fit
    recall_at_least: float
    cpu_s_per_query: float


def make_index(
    memory: Memory,
    state: State,
    target: Target,
    folder: Path,
    *,
    vectors: CodecName = "float16",
    kind: KindName | None = None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> tuple[LargeIndex | None, Tuning]:
    """Return an index of all vectors in a state of the gallery's file and what it does.

    Where int8 vectors find too little, float16 is taken instead, with a warning.

    Args:
        memory: what samples are drawn from.
        state: what the index is to show.
        target: whose vectors are meant.
        folder: gets the file of codes.
        vectors: how vectors are to be kept.
        kind: the only one to be tried, and to be taken if it finds enough; None for the quickest, or exact search.
        is_wanted: asked now and then whether to go on.

    Returns:
        None for the index when exact search is better.

    Raises:
        OSError: the file of codes cannot be written.
        InterruptedError: it is wanted no more.
    """
    use_one_thread()
    num_vectors = memory.num_vectors(target)
    sample = draw(memory, target, num_vectors)
    codec = Codec.fitted(vectors, sample.training)
    file = CodesFile(folder / f"{target}.{uuid.uuid4().hex}.codes", code_bytes=codec.num_bytes)
    kinds: list[Candidates] = []
    if kind in (None, Lists.kind):
        kinds.append(Lists.trained(sample.training, num_vectors=num_vectors))
    if kind == Graph.kind or (kind is None and num_vectors <= GRAPH_UP_TO):
        kinds.append(Graph.empty(codec.dim))
    rows, answers = _fill(codec, file, kinds, state, target, sample, is_wanted)
    exact_s = _exact_cpu_s(sample, num_vectors)
    trials: dict[str, tuple[_Trial, Candidates]] = {}
    for candidates in kinds:
        index = LargeIndex(codec, candidates, _untuned(len(rows)), file, exact_up_to=0)
        index.load(rows)
        best = _cheapest(index, sample, answers)
        if best is not None:
            trials[candidates.kind] = (best, candidates)
    tried: dict[str, float] = {kind: 1 / best.cpu_s_per_query for kind, (best, _) in trials.items()}
    if not trials and vectors == "int8":
        file.path.unlink()
        _log.warning("event=int8_finds_too_little target=%s action=float16", target)
        return make_index(memory, state, target, folder, vectors="float16", kind=kind, is_wanted=is_wanted)
    exact = Tuning(
        target=target,
        kind=FlatVectors.kind,
        vectors="float32",
        num_vectors=len(rows),
        effort=None,
        recall=1.0,
        queries_per_cpu_s=1 / exact_s,
        exact_queries_per_cpu_s=1 / exact_s,
        tried=tried,
    )
    chosen = min(trials.values(), key=lambda trial: trial[0].cpu_s_per_query, default=None)
    if chosen is None or (kind is None and chosen[0].cpu_s_per_query >= exact_s):
        file.path.unlink()
        return None, exact
    best, candidates = chosen
    index = LargeIndex(codec, candidates, best.fit, file)
    index.load(rows)
    tuning = replace(
        exact,
        kind=candidates.kind,
        vectors=codec.name,
        effort=best.fit.effort,
        recall=best.fit.recall,
        queries_per_cpu_s=1 / best.cpu_s_per_query,
    )
    return index, tuning


def _fill(
    codec: Codec,
    file: CodesFile,
    kinds: list[Candidates],
    state: State,
    target: Target,
    sample: Sample,
    is_wanted: Callable[[], bool],
) -> tuple[Rows, Rows]:
    """Write all vectors to the file, add them to the candidates; return their rows and the queries' exact answers."""
    scores, found = no_answers(sample)
    all_rows = [np.empty(0, np.int64)]

    def codes() -> Iterator[Bytes]:
        nonlocal scores, found
        for rows, vectors in state.vectors(target):
            if not is_wanted():
                raise InterruptedError("the gallery is being closed")
            for candidates in kinds:
                candidates.add(vectors)
            all_rows.append(rows)
            scores, found = merged(scores, found, rows, vectors, sample)
            yield codec.encode(vectors)

    file.append(codes())
    return np.concatenate(all_rows), found


def _cheapest(index: LargeIndex, sample: Sample, answers: Rows) -> _Trial | None:
    """Try efforts until each number of candidates finds enough, or cannot; return the cheapest that does."""
    best: _Trial | None = None
    breadths, numbers = index.candidates.efforts
    least = index.candidates.least_breadth()
    for num_candidates in numbers:
        for breadth in [breadth for breadth in breadths if breadth >= least]:
            trial = _try(index, Effort(breadth=breadth, num_candidates=num_candidates), sample, answers)
            if trial.recall_at_least >= RECALL_WANTED:
                if best is None or trial.cpu_s_per_query < best.cpu_s_per_query:
                    best = trial
                break
    return best


def _try(index: LargeIndex, effort: Effort, sample: Sample, answers: Rows) -> _Trial:
    index.refit(Fit(effort=effort, recall=0.0, num_vectors=len(index)))
    batches = range(0, len(sample.queries), _QUERIES_AT_ONCE)

    def run() -> tuple[float, list[Rows]]:
        started = time.thread_time()
        found = [index.search(sample.queries[at : at + _QUERIES_AT_ONCE], TOP_K + 1)[1] for at in batches]
        return time.thread_time() - started, found

    least_s, found = run()
    recall, recall_at_least = recall_of(np.concatenate(found), sample, answers)
    if recall_at_least >= RECALL_WANTED:  # only then does it matter how long it takes
        least_s = min(least_s, *(run()[0] for _ in range(_MORE_ROUNDS)))
    return _Trial(
        fit=Fit(effort=effort, recall=recall, num_vectors=len(index)),
        recall_at_least=recall_at_least,
        cpu_s_per_query=least_s / len(sample.queries),
    )


def _untuned(num_vectors: int) -> Fit:
    return Fit(effort=Effort(breadth=1, num_candidates=50), recall=0.0, num_vectors=num_vectors)


def _exact_cpu_s(sample: Sample, num_vectors: int) -> float:
    """Return what an exact search would take, from one over the vectors that were trained on."""
    part = FlatVectors(sample.training.shape[1])
    part.put(np.arange(len(sample.training)), sample.training)
    queries = sample.queries[:_QUERIES_AT_ONCE]
    part.search(queries, TOP_K)
    started = time.thread_time()
    part.search(queries, TOP_K)
    taken = max(time.thread_time() - started, 1e-9)
    return taken / len(queries) * num_vectors / len(sample.training)
