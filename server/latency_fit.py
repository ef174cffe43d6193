"""How long a batch will take, learned from those that ran."""

_MEMORY = 0.97
_SAMPLES_TO_TRUST = 3
_SAMPLES_TO_KEEP = 8
_OUTLIER = 4.0


class LatencyFit:
    """Seconds of a batch as `fixed + rows x each`: least squares over the batches seen, of which old ones fade."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._seen = self._most_rows = 0
        self._weight = self._rows = self._rows2 = self._seconds = self._rows_seconds = 0.0

    def learn(self, rows: int, seconds: float) -> None:
        """Take one batch in.

        A hiccup of the machine counts as a few times what was expected, no more; and when it came so early that only
        the expectation can be wrong, that is given up.
        """
        self._most_rows = max(self._most_rows, rows)
        if self._seen >= _SAMPLES_TO_TRUST:
            seconds = min(seconds, _OUTLIER * self.seconds(self._most_rows))
        if self._seen < _SAMPLES_TO_KEEP and _OUTLIER * seconds < self.seconds(rows):
            self._forget()
        self._seen += 1
        self._weight = self._weight * _MEMORY + 1
        self._rows = self._rows * _MEMORY + rows
        self._rows2 = self._rows2 * _MEMORY + rows * rows
        self._seconds = self._seconds * _MEMORY + seconds
        self._rows_seconds = self._rows_seconds * _MEMORY + rows * seconds

    @property
    def line(self) -> tuple[float, float]:
        """`fixed` and `each`, neither below 0; both 0 before anything was seen."""
        if not self._seen:
            return 0.0, 0.0
        spread = self._weight * self._rows2 - self._rows**2
        if spread <= 1e-6 * self._weight * self._rows2:  # one size alone says nothing of the fixed part
            return 0.0, self._seconds / self._rows
        each = (self._weight * self._rows_seconds - self._rows * self._seconds) / spread
        fixed = (self._seconds - each * self._rows) / self._weight
        if each < 0:
            return self._seconds / self._weight, 0.0
        if fixed < 0:
            return 0.0, self._rows_seconds / self._rows2
        return fixed, each

    def seconds(self, rows: int) -> float:
        """Return how long a batch of so many rows should take."""
        fixed, each = self.line
        return fixed + each * rows

    def rows_within(self, seconds: float, *, most: int) -> int:
        """Return the largest batch that should take no longer, between 1 and `most`."""
        fixed, each = self.line
        if each <= 0:
            return most
        return max(1, min(most, int((seconds - fixed) / each)))
