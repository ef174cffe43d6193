"""The GPUs that searches may use: a thread for each, which alone touches it and answers many searches in one call.

A card holds copies of indexes and is never waited for by a write: what came after the copy, what is gone since, and
filters are the CPU's part (`large_index.py`). A card that is at work on a new copy, fails or gives no answer is passed
over, and the CPU answers; that it failed is told in the log and by `Cards.fallback`.
"""

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count as counting
from typing import Literal, Protocol, TypeVar

import numpy as np

from index.candidates import Effort, Fit
from index.card_kinds import MOST_CANDIDATES, CardIndex, CardKind, GpuBuild
from index.records import Floats
from index.vectors import Rows, use_one_thread

CardChoice = Literal["auto", "off", "flat", "ivf-pq", "cagra"]
"""What an operator may ask for; auto takes what the machine has and the number of vectors wants."""

FLAT_UP_TO_BYTES = 2**31
"""So many bytes of float16 vectors a card looks at within about a millisecond."""

_MOST_ROWS = 1024
_ANSWER_S = 5.0
_IDLE_S = 1.0
_STRANGERS_FOUND = 0.99

T = TypeVar("T")

_log = logging.getLogger(__name__)
_keys = counting()


class Build(Protocol):
    """What a build of FAISS does on cards; see `GpuBuild`, which is the one there is outside tests."""

    def num_cards(self) -> int: ...  # noqa: D102
    def why_none(self) -> str: ...  # noqa: D102
    def make(self, kind: CardKind, device: int, *, dim: int, num_vectors: int) -> CardIndex: ...  # noqa: D102
    def why_not(self, kind: CardKind, device: int) -> str | None: ...  # noqa: D102


@dataclass(slots=True, kw_only=True)
class _Search:
    key: int
    queries: Floats
    effort: Effort
    found: Rows | None = None
    is_done: threading.Event = field(default_factory=threading.Event)


class Card:
    """One GPU and its thread."""

    def __init__(self, device: int, build: Build, *, answer_s: float = _ANSWER_S) -> None:
        self.device = device
        self.failure: str | None = None
        self.num_batches = 0
        self._build = build
        self._answer_s = answer_s
        self._wakened = threading.Condition()
        self._searches: deque[_Search] = deque()
        self._tasks: deque[Callable[[], None]] = deque()
        self._dropped: deque[int] = deque()  # filled by the garbage collector, which must take no lock
        self._indexes: dict[int, CardIndex] = {}
        self._is_busy = False
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name=f"card-{device}", daemon=True)
        self._thread.start()

    @property
    def num_vectors(self) -> int:
        """How many vectors the card holds."""
        return sum(int(index.index.ntotal) for index in self._indexes.copy().values())

    def place(self, kind: CardKind, sample: Floats, chunks: Iterable[Floats], *, count: int) -> "Placed":
        """Copy vectors onto the card and return what searches them; waits until it is done.

        Args:
            kind: of the index.
            sample: [m, dim], what it is fitted to.
            chunks: the vectors by position, [n, dim] each; read on the card's thread.
            count: how many there are.

        Raises:
            RuntimeError: the card cannot hold them, or has failed.
        """
        key = next(_keys)

        def fill() -> CardIndex:
            index = self._build.make(kind, self.device, dim=sample.shape[1], num_vectors=count)
            index.fill(sample, chunks)
            self._indexes[key] = index
            return index

        placed = Placed(self, key, self._done(fill), count=count)
        weakref.finalize(placed, self._dropped.append, key)
        return placed

    def add(self, key: int, vectors: Floats) -> None:
        """Put more vectors behind those of an index that grows.

        Raises:
            RuntimeError: the card cannot hold them, or has failed.
        """
        self._done(lambda: self._indexes[key].index.add(np.ascontiguousarray(vectors)))

    def search(self, key: int, queries: Floats, effort: Effort) -> Rows | None:
        """Return positions [n, candidates] near queries [n, dim]; None when the CPU is to answer."""
        search = _Search(key=key, queries=queries, effort=effort)
        with self._wakened:
            if self._is_busy or self._tasks or self._is_closing or self.failure is not None:
                return None
            self._searches.append(search)
            self._wakened.notify()
        if not search.is_done.wait(self._answer_s):
            self._fail(f"card {self.device} gave no answer in {self._answer_s:g} seconds")
        return search.found

    def close(self) -> None:
        """End the thread once it is through with what it does."""
        with self._wakened:
            self._is_closing = True
            self._wakened.notify()
        self._thread.join(self._answer_s)

    # On the card's thread

    def _run(self) -> None:
        use_one_thread()
        while True:
            with self._wakened:
                while not (self._searches or self._tasks or self._dropped or self._is_closing):
                    self._wakened.wait(_IDLE_S)
                if self._is_closing:
                    self._let_go()
                    return
                batch = self._taken()
                task = self._tasks.popleft() if self._tasks and not batch else None
                self._is_busy = task is not None
            while self._dropped:
                self._indexes.pop(self._dropped.popleft(), None)
            if batch:
                self._answer(batch)
            elif task is not None:
                task()
                self._is_busy = False

    def _taken(self) -> list[_Search]:
        """Take the first search that waits and all that can be answered in one call with it."""
        if not self._searches:
            return []
        first = self._searches[0]
        batch: list[_Search] = []
        others: list[_Search] = []
        num_rows = 0
        while self._searches:
            search = self._searches.popleft()
            is_alike = search.key == first.key and search.effort == first.effort
            if is_alike and (not batch or num_rows + len(search.queries) <= _MOST_ROWS):
                batch.append(search)
                num_rows += len(search.queries)
            else:
                others.append(search)
        self._searches.extend(others)
        return batch

    def _answer(self, batch: list[_Search]) -> None:
        try:
            queries = np.concatenate([search.queries for search in batch])
            found = self._indexes[batch[0].key].search(queries, batch[0].effort)
            self.num_batches += 1
            start = 0
            for search in batch:
                search.found = found[start : start + len(search.queries)]
                start += len(search.queries)
        except Exception as error:  # FAISS raises RuntimeError, and what else there is must not end the thread
            self._fail(" ".join(str(error).split()))
        for search in batch:
            search.is_done.set()

    def _let_go(self) -> None:
        for search in self._searches:
            search.is_done.set()
        self._searches.clear()
        self._indexes.clear()

    # From other threads

    def _done(self, call: Callable[[], T]) -> T:
        """Let the card's thread do something, and wait for it."""
        results: list[T] = []
        errors: list[BaseException] = []
        is_done = threading.Event()

        def task() -> None:
            try:
                results.append(call())
            except BaseException as error:
                errors.append(error)
            is_done.set()

        with self._wakened:
            if self._is_closing or self.failure is not None:
                raise RuntimeError(self.failure or f"card {self.device} is closed")
            self._tasks.append(task)
            self._wakened.notify()
        while not is_done.wait(_IDLE_S):
            if not self._thread.is_alive():
                raise RuntimeError(f"card {self.device} is closed")
        if errors:
            raise RuntimeError(" ".join(str(errors[0]).split())) from errors[0]
        return results[0]

    def _fail(self, reason: str) -> None:
        if self.failure is None:
            self.failure = reason
            _log.warning("event=card_failed card=%d reason=%s action=search_on_the_cpu", self.device, reason)


class Placed:
    """A copy of an index's vectors on a card. What it finds are candidates, by position.

    Attributes:
        count: positions that it is asked for; what lies behind them is passed over.
        fit: how hard it looks for ten hits.
    """

    def __init__(self, card: Card, key: int, index: CardIndex, *, count: int) -> None:
        self.count = count
        self.kind = index.kind
        self.grows = index.grows
        self.efforts = index.efforts
        self._strangers = index.strangers
        breadths, numbers = index.efforts
        self.fit = Fit(effort=Effort(breadth=breadths[-1], num_candidates=numbers[-1]), recall=0.0, num_vectors=count)
        self._card = card
        self._key = key

    @property
    def is_usable(self) -> bool:
        """Whether the card still answers."""
        return self._card.failure is None

    def refit(self, fit: Fit) -> None:
        """Search with another effort from now on."""
        self.fit = fit

    def add(self, vectors: Floats) -> None:
        """Put vectors behind those that are there; `count` is the caller's, once they are to be found."""
        self._card.add(self._key, vectors)

    def finds_strangers(self) -> bool:
        """Say whether items unlike all others are found by their own vectors; a graph's narrow search goes astray."""
        if not len(self._strangers):
            return True
        found = self._card.search(self._key, self._strangers, self.fit.effort)
        own = self.count + np.arange(len(self._strangers))
        return found is not None and bool((found[:, 0] == own).mean() >= _STRANGERS_FOUND)

    def search(self, queries: Floats, num_candidates: int) -> Rows | None:
        """Return so many positions for each query [n, dim], -1 for none; None when the CPU is to answer."""
        if num_candidates > MOST_CANDIDATES:
            return None
        return self._card.search(self._key, queries, replace(self.fit.effort, num_candidates=num_candidates))


class Cards:
    """The cards of this machine that were found to work, and what was asked of them.

    Attributes:
        wanted: what the operator asked for.
        fallback: why the CPU searches although a GPU was asked for, or is there; None when nothing fell back.
    """

    def __init__(self, wanted: CardChoice, *, build: Build | None = None) -> None:
        """Let every card prove the kind that is wanted, in a process of its own; seconds where there is one."""
        self.wanted = wanted
        self._fallback: str | None = None
        self._build = build or GpuBuild()
        self._cards: list[Card] = []
        self._proofs: dict[tuple[CardKind, int], str | None] = {}
        if wanted != "off":
            self._find("flat" if wanted == "auto" else wanted)

    def __len__(self) -> int:
        return len(self._cards)

    @property
    def fallback(self) -> str | None:
        """Why the CPU searches although a GPU was asked for, or is there; None when nothing fell back."""
        failed = [card.failure for card in self._cards if card.failure is not None]
        return self._fallback or (failed[0] if failed else None)

    def place(self, sample: Floats, chunks: Iterable[Floats], *, count: int) -> Placed | None:
        """Copy vectors onto the card that holds the fewest; None, loudly, when none can take them."""
        working = [card for card in self._cards if card.failure is None]
        if not working:
            return None
        card = min(working, key=lambda card: card.num_vectors)
        try:
            return card.place(self._kind_for(card, count * sample.shape[1] * 2), sample, chunks, count=count)
        except RuntimeError as error:
            self.fall_back(str(error))
            return None

    def fall_back(self, reason: str) -> None:
        """Tell that the CPU searches in a card's place."""
        if self._fallback != reason:
            _log.warning("event=gpu_search_fallback wanted=%s reason=%s action=search_on_the_cpu", self.wanted, reason)
        self._fallback = reason

    def close(self) -> None:
        """End the cards' threads."""
        for card in self._cards:
            card.close()

    def _find(self, kind: CardKind) -> None:
        number = self._build.num_cards()
        if not number and self.wanted != "auto":
            self.fall_back(self._build.why_none())
        for device in range(number):
            if (reason := self._why_not(kind, device)) is None:
                self._cards.append(Card(device, self._build))
            else:
                self.fall_back(reason)
        if self._cards:
            _log.info("event=gpu_search wanted=%s cards=%d", self.wanted, len(self._cards))

    def _kind_for(self, card: Card, num_bytes: int) -> CardKind:
        if self.wanted != "auto" and self.wanted != "off":
            return self.wanted
        if num_bytes <= FLAT_UP_TO_BYTES:
            return "flat"
        return "cagra" if self._why_not("cagra", card.device) is None else "ivf-pq"

    def _why_not(self, kind: CardKind, device: int) -> str | None:
        if (kind, device) not in self._proofs:
            self._proofs[kind, device] = self._build.why_not(kind, device)
        return self._proofs[kind, device]
