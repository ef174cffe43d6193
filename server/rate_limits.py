"""How often each caller may come: a bucket of tokens per key, or per address where no keys are in use."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from server.errors import RequestError

_MOST_CALLERS = 10_000


class RateLimits:
    """Buckets that fill by `per_s` tokens a second, up to `burst`. A request takes one."""

    def __init__(self, *, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with full buckets.

        Args:
            per_s: requests per second and caller in the long run; 0 lets everybody come as often as they like.
            burst: requests that may come at once.
            clock: gives seconds.
        """
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, caller: Hashable) -> None:
        """Let a caller come once.

        Raises:
            RequestError: `rate_limited`, with the seconds until the next token in `Retry-After`.
        """
        if self._per_s <= 0:
            return
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - since) * self._per_s)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)  # who came longest ago has a full bucket by now, or nearly
        if not allowed:
            wait_s = math.ceil((1 - tokens) / self._per_s)
            raise RequestError(
                f"at most {self._per_s:g} requests per second are taken from one caller.",
                code="rate_limited",
                headers={"Retry-After": str(max(1, wait_s))},
            )
