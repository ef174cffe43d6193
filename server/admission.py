"""Who may come in: decided before a body is read, by how long a request would have to wait."""

import math
import time
from collections import Counter
from collections.abc import Callable

from server.errors import RequestError

_MEMORY = 0.98
_LONGEST_RETRY_S = 60
_FIRST_COST_S = 0.002
_USUAL_REQUESTS = 4
_ALWAYS_WELCOME = 8  # requests inside, unless the operator set a limit: as many as one page of a browser asks for
_HICCUP = 4.0
_SAME_MOMENT_S = 0.001  # who leaves so soon after another was served together with it
_BURST_LIMIT_S, _FLOOD_LIMIT_S = 0.25, 0.05
_FLOOD_S = 2.0  # after a refusal, a flood is taken to go on for so long
_LONGEST_LIMIT_S = 2.0


class _Mean:
    """A mean in which old values fade."""

    def __init__(self, first: float) -> None:
        self._sum, self._weight = first, 1.0

    def add(self, value: float) -> None:
        self._sum = self._sum * _MEMORY + value
        self._weight = self._weight * _MEMORY + 1

    @property
    def value(self) -> float:
        return self._sum / self._weight


class Place:
    """A request that was let in.

    Attributes:
        kind: what its cost is expected from: its route, and whether it brings a picture.
        is_ingest: it goes behind all others, so that nobody waits for it.
        is_at_work: its body is here, so that the server and not the caller takes the time.
    """

    __slots__ = ("is_at_work", "is_ingest", "kind")

    def __init__(self, kind: str, *, is_ingest: bool) -> None:
        self.kind = kind
        self.is_ingest = is_ingest
        self.is_at_work = False


class Admission:
    """Counts requests in and out and learns how fast they leave.

    Busy seconds per departure are what one request costs, pipelining and batching included; how they are shared among
    the kinds of requests goes by what each took without waiting. A newcomer's wait is the cost of all those inside. A
    queue within the limit keeps every batch full, and a longer one would only make everybody late.
    """

    def __init__(
        self, *, max_waiting: int, max_wait_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin with nobody inside.

        Args:
            max_waiting: requests inside, whatever they cost.
            max_wait_s: longest wait that is let in; four usual requests, up to 2 s, when None. It is then 0.25 s at
                least, so that bursts are taken in, until somebody is refused; while that goes on it is 0.05 s at
                least, because a long queue would only make everybody late. A few requests are let in at any time.
            clock: gives seconds.
        """
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._inside = 0
        self._interactive: Counter[str] = Counter()
        self._at_work = 0
        self._flood_until = -math.inf
        self._busy_since = 0.0
        self._own_s: dict[str, _Mean] = {}
        self._usual_s = _Mean(_FIRST_COST_S)
        self._busy_s = self._served_s = 10 * _FIRST_COST_S  # as if a few had been served, one after another
        self._burst_busy_s = self._burst_served_s = 0.0

    @property
    def inside(self) -> int:
        """Requests at work or waiting."""
        return self._inside

    @property
    def predicted_wait_s(self) -> float:
        """How long a newcomer would wait for those inside."""
        ahead_s = sum(count * self._own_s[kind].value for kind, count in self._interactive.items())
        return ahead_s * self._pace

    @property
    def longest_wait_s(self) -> float:
        """The longest wait that is let in."""
        if self._max_wait_s is not None:
            return self._max_wait_s
        shortest_s = _FLOOD_LIMIT_S if self._clock() < self._flood_until else _BURST_LIMIT_S
        return min(_LONGEST_LIMIT_S, max(shortest_s, _USUAL_REQUESTS * self._usual_s.value))

    def enter(self, kind: str, *, is_ingest: bool = False, timeout_s: float | None = None) -> Place:
        """Let one request in; whoever enters must `leave`.

        Args:
            kind: see `Place`.
            is_ingest: see `Place`.
            timeout_s: how long the caller waits, when it said so.

        Raises:
            RequestError: `overloaded`, with `Retry-After`.
        """
        if self._inside >= self._max_waiting:
            raise self._refusal(f"{self._inside} requests are at work or waiting")
        own_s = self._own_s.setdefault(kind, _Mean(self._usual_s.value))
        if not is_ingest and self._inside:
            wait_s = self.predicted_wait_s
            is_welcome = self._max_wait_s is None and self._inside < _ALWAYS_WELCOME
            if wait_s > self.longest_wait_s and not is_welcome:
                self._flood_until = self._clock() + _FLOOD_S
                raise self._refusal(f"this request would wait about {wait_s:.2g} s")
            if timeout_s is not None and wait_s + own_s.value > timeout_s:
                raise self._refusal(f"this request would wait about {wait_s:.2g} s, and its timeout_ms is shorter")
        self._inside += 1
        if not is_ingest:
            self._interactive[kind] += 1
        return Place(kind, is_ingest=is_ingest)

    def begin(self, place: Place) -> None:
        """Note that a request is here completely; from now on its time is the server's."""
        if not place.is_ingest and not place.is_at_work:
            place.is_at_work = True
            if self._at_work == 0:
                self._busy_since = self._clock()
            self._at_work += 1

    def leave(self, place: Place, *, own_s: float | None) -> None:
        """Let one request out.

        Args:
            place: what `enter` gave.
            own_s: seconds that it took without waiting; None when it was not answered as usual, and teaches nothing.
        """
        self._inside -= 1
        if place.is_ingest:
            return
        self._interactive[place.kind] -= 1
        if not place.is_at_work:
            return
        now = self._clock()
        self._at_work -= 1
        busy_s, self._busy_since = now - self._busy_since, now
        if own_s is not None:
            self._own_s[place.kind].add(own_s)
            self._usual_s.add(own_s)
            if busy_s > _SAME_MOMENT_S:
                self._learn_pace()
            self._burst_busy_s += busy_s
            self._burst_served_s += own_s

    def retry_after_s(self) -> int:
        """Return in how many seconds those inside should have left, at the pace of late."""
        return max(1, min(_LONGEST_RETRY_S, math.ceil(self.predicted_wait_s)))

    @property
    def _pace(self) -> float:
        """Busy seconds of the server for each second that requests took by themselves."""
        return self._busy_s / self._served_s

    def _learn_pace(self) -> None:
        """Take in those who left together, as a batch does; a hiccup of the machine counts a few times their cost."""
        longest_s = _HICCUP * self._burst_served_s * max(1.0, self._pace)
        self._busy_s = self._busy_s * _MEMORY + min(self._burst_busy_s, longest_s)
        self._served_s = self._served_s * _MEMORY + self._burst_served_s
        self._burst_busy_s = self._burst_served_s = 0.0

    def _refusal(self, why: str) -> RequestError:
        return RequestError(
            f"{why}; send it again later.", code="overloaded", headers={"Retry-After": str(self.retry_after_s())}
        )
