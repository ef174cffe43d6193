"""When a request is sent again, and after how long."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_REFUSED_UNDONE = frozenset({429, 503})
"""The server turned the request away before it did anything: sending it again repeats nothing."""

_UNKNOWN_IF_DONE = frozenset({502, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how patiently a request is sent again.

    Attributes:
        attempts: most sendings of one request; 1 never sends again.
        first_wait_s: wait before the second sending, doubled each time and shortened at random by up to half.
        longest_wait_s: most that is waited for once; a server that asks for more is not asked again.
    """

    attempts: int = 4
    first_wait_s: float = 0.2
    longest_wait_s: float = 30.0

    def wait_s(
        self, attempt: int, *, status: int | None, is_repeatable: bool, retry_after_s: float | None
    ) -> float | None:
        """Return the seconds to wait before sending again, or None to give up.

        Args:
            attempt: how often the request was sent so far, from 1.
            status: the HTTP status of the answer; None when the connection broke.
            is_repeatable: whether doing the request twice is the same as doing it once.
            retry_after_s: what the server asked for.
        """
        again = status in _REFUSED_UNDONE or (is_repeatable and (status is None or status in _UNKNOWN_IF_DONE))
        if not again or attempt >= self.attempts:
            return None
        if retry_after_s is not None:
            return retry_after_s if retry_after_s <= self.longest_wait_s else None
        wait = min(self.first_wait_s * 2.0 ** (attempt - 1), self.longest_wait_s)
        return float(wait) * random.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a `Retry-After` header asks for: a number, or the time until a date."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
