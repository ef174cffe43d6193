"""Looks after the galleries in the background: makes large ones quick to search, and starts quick, as they grow."""

import logging
import os
import sys
import threading

from runtime.errors import GalleryError
from server.galleries import Galleries

_PAUSE_S = 10.0
_NICENESS = 10  # searches and writes come first

_log = logging.getLogger(__name__)


class Upkeep:
    """One thread that asks every gallery in turn to do what is due."""

    def __init__(self, galleries: Galleries, *, pause_s: float = _PAUSE_S) -> None:
        self._galleries = galleries
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more. What is under way ends when its gallery is closed; `join` waits for that."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    def _run(self) -> None:
        if sys.platform == "linux":  # where a thread has a niceness of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        told: dict[str, str] = {}
        while not self._stop.wait(self._pause_s):
            for name, gallery in self._galleries.all().items():
                if self._stop.is_set():
                    continue
                try:
                    gallery.upkeep()
                    told.pop(name, None)
                except GalleryError as error:  # tried again at the next turn, and told once
                    if error.code not in ("gallery_closed", "gallery_switched") and told.get(name) != str(error):
                        told[name] = str(error)
                        fields = {"event": "upkeep_failed", "gallery": name, "reason": str(error)}
                        _log.warning("upkeep failed", extra={"fields": fields})
