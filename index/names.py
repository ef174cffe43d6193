"""The ids of all items by row, packed: a few dozen bytes an item where Python's own texts take a hundred."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from index.vectors import Rows

_MOST_RECENT = 100_000


class Names:
    """Ids by row. Rows come in rising order, and a row that is gone never comes back.

    Not thread-safe: `memory.py` lets in many readers or one change at a time.
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._recent: dict[int, str] = {}  # ids that searches found lately, which others find again
        self._ends = np.zeros(1, np.int64)  # the id of a row ends here, and begins where that of the row before ends
        self._is_there = np.zeros(1, bool)
        self._num_rows = 0
        self._num_there = 0

    def __len__(self) -> int:
        """Return how many rows have an id."""
        return self._num_there

    def put(self, row: int, name: str) -> None:
        """Remember the id of a row; one that is known already stays."""
        if row < self._num_rows:
            self._num_there += not self._is_there[row]
            self._is_there[row] = True
            return
        if row >= len(self._ends):
            room = max(row + 1, 2 * len(self._ends), 64)
            self._ends = np.append(self._ends, np.zeros(room - len(self._ends), np.int64))
            self._is_there = np.append(self._is_there, np.zeros(room - len(self._is_there), bool))
        self._ends[self._num_rows : row] = len(self._text)
        self._text += name.encode()
        self._ends[row] = len(self._text)
        self._is_there[row] = True
        self._num_rows = row + 1
        self._num_there += 1

    def remove(self, row: int) -> None:
        """Forget a row; one that is not known is passed over."""
        if row < self._num_rows and self._is_there[row]:
            self._is_there[row] = False
            self._num_there -= 1

    def of(self, rows: list[int]) -> list[str]:
        """Return the ids of rows that have one. Several threads may ask at once."""
        recent = self._recent
        try:
            return [recent[row] for row in rows]
        except KeyError:
            return self._unpacked(rows)

    def _unpacked(self, rows: list[int]) -> list[str]:
        names = [self._name(row) for row in rows]
        if len(self._recent) > _MOST_RECENT:
            self._recent = {}
        self._recent.update(zip(rows, names, strict=True))
        return names

    def _name(self, row: int) -> str:
        return self._text[int(self._ends[row - 1]) if row else 0 : int(self._ends[row])].decode()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield row and id, by row."""
        for row in np.flatnonzero(self._is_there[: self._num_rows]).tolist():
            yield row, self._name(row)

    def packed(self) -> tuple[bytes, Rows, NDArray[np.bool_]]:
        """Return a copy of everything: text, ends [rows], whether there is one [rows]."""
        return bytes(self._text), self._ends[: self._num_rows].copy(), self._is_there[: self._num_rows].copy()

    @classmethod
    def from_packed(cls, text: bytes, ends: Rows, is_there: NDArray[np.bool_]) -> "Names":
        """Read what `packed` gave.

        Raises:
            ValueError: the parts do not belong together.
        """
        if len(ends) != len(is_there) or (np.diff(ends, prepend=0) < 0).any() or (len(ends) and ends[-1] != len(text)):
            raise ValueError("the ids do not belong together")
        names = cls()
        names._text, names._ends, names._is_there = bytearray(text), np.append(ends, 0), np.append(is_there, False)
        names._num_rows, names._num_there = len(ends), int(is_there.sum())
        return names
