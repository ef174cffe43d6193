"""Who may come in: a bound on the requests at work or waiting, decided before a body is read."""

import math
import time
from collections import deque

from server.errors import RequestError

_REMEMBERED = 64
_LONGEST_RETRY_S = 30


class Admission:
    """Counts requests in and out; the drain rate of the last ones gives `Retry-After`."""

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._inside = 0
        self._left_at: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def inside(self) -> int:
        """Requests at work or waiting."""
        return self._inside

    def enter(self) -> None:
        """Let one request in; whoever enters must `leave`.

        Raises:
            RequestError: `overloaded`, with `Retry-After`.
        """
        if self._inside >= self._max_waiting:
            raise RequestError(
                f"{self._inside} requests are at work or waiting; send this one again later.",
                code="overloaded",
                headers={"Retry-After": str(self.retry_after_s())},
            )
        self._inside += 1

    def leave(self) -> None:
        """Let one request out."""
        self._inside -= 1
        self._left_at.append(time.monotonic())

    def retry_after_s(self) -> int:
        """Return in how many seconds half of those inside should have left, going by the last that did."""
        if len(self._left_at) < 2:
            return 1
        seconds_each = (self._left_at[-1] - self._left_at[0]) / (len(self._left_at) - 1)
        return max(1, min(_LONGEST_RETRY_S, math.ceil(seconds_each * self._inside / 2)))
