"""A cache with a budget in bytes, which forgets what was not asked for longest."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class ByteCache(Generic[V]):
    """Values with their sizes. Methods may be called from any thread."""

    def __init__(self, max_bytes: int, *, on_lookup: Callable[[bool], None]) -> None:
        """Begin empty.

        Args:
            max_bytes: the budget; with 0 nothing is ever kept.
            on_lookup: is told of every question whether the value was there.
        """
        self._max_bytes = max_bytes
        self._on_lookup = on_lookup
        self._held: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    @property
    def num_bytes(self) -> int:
        """Bytes of what is held."""
        return self._num_bytes

    def get(self, key: Hashable) -> V | None:
        """Return a value, if it is held."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
        self._on_lookup(found is not None)
        return None if found is None else found[0]

    def put(self, key: Hashable, value: V, num_bytes: int) -> None:
        """Hold a value, unless it would take the budget by itself."""
        if num_bytes > self._max_bytes:
            return
        with self._lock:
            if key in self._held:
                self._num_bytes -= self._held.pop(key)[1]
            self._held[key] = (value, num_bytes)
            self._num_bytes += num_bytes
            while self._num_bytes > self._max_bytes:
                _, (_, freed) = self._held.popitem(last=False)
                self._num_bytes -= freed
