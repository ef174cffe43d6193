"""The models that a server has loaded, one for each embedding space that its galleries are in."""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from runtime.encoder import Encoder
from runtime.errors import BundleError, VernierError
from server.byte_cache import ByteCache
from server.engine_pool import EnginePool

if TYPE_CHECKING:
    from server.seeing import Seen

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle's engines, warm, and what they lately said of pictures."""

    engines: EnginePool
    seen: "ByteCache[Seen]"


class Models:
    """Loaded models by space. What is loaded stays, so that a gallery can go back at once."""

    def __init__(
        self, folder: Path | None, *, load: Callable[[Path], Encoder], start: Callable[[Encoder], Model]
    ) -> None:
        """Prepare; nothing is loaded.

        Args:
            folder: its sub-directories are the bundles that galleries may be moved to; None when there are none.
            load: reads a bundle.
            start: gives an encoder its threads and warms it up.
        """
        self._folder = folder
        self._load = load
        self._start = start
        self._by_space: dict[str, Model] = {}
        self._lock = threading.Lock()

    def add(self, encoder: Encoder) -> Model:
        """Return the model of an encoder; it is started unless one of its space is there already."""
        with self._lock:
            if encoder.space not in self._by_space:
                self._by_space[encoder.space] = self._start(encoder)
            return self._by_space[encoder.space]

    def of(self, space: str) -> Model:
        """Return the loaded model of a space."""
        return self._by_space[space]

    def all(self) -> list[Model]:
        """Return every loaded model."""
        return list(self._by_space.values())

    def named(self, name: str) -> Model:
        """Load a bundle of the folder, unless it is loaded.

        Raises:
            BundleError: `unknown_bundle`, or what is wrong with it.
        """
        if self._folder is None:
            raise BundleError(
                "this server has no directory of bundles; its operator names one in VERNIER_BUNDLES_DIR.",
                code="unknown_bundle",
            )
        if not _NAME.fullmatch(name) or not (self._folder / name / "manifest.json").is_file():
            known = ", ".join(folder.name for folder in self._folders()) or "none"
            raise BundleError(f"there is no bundle '{name[:64]}'; there are: {known}.", code="unknown_bundle")
        return self.add(self._load(self._folder / name))

    def find(self, space: str) -> Model | None:
        """Return the model of a space, loading its bundle from the folder when it is there."""
        if space in self._by_space:
            return self._by_space[space]
        for folder in self._folders():
            if _space_of(folder) == space:
                try:
                    return self.add(self._load(folder))
                except VernierError as error:
                    fields = {"event": "bundle_not_loaded", "bundle": folder.name, "reason": str(error)}
                    _log.warning("bundle not loaded", extra={"fields": fields})
        return None

    def close(self) -> None:
        """End the threads of every model."""
        for model in self.all():
            model.engines.close()

    def _folders(self) -> list[Path]:
        if self._folder is None or not self._folder.is_dir():
            return []
        return sorted(file.parent for file in self._folder.glob("*/manifest.json") if _NAME.fullmatch(file.parent.name))


def _space_of(folder: Path) -> str | None:
    """Return the space that a bundle's manifest names; whether the bundle is whole is seen when it is loaded."""
    try:
        return str(orjson.loads((folder / "manifest.json").read_bytes())["space"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
