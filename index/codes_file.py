"""The file that holds a large index's codes: it is only ever added to, and fingerprinted as far as it counts."""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from index.region import Bytes

_CHUNK = 2**22


class CodesFile:
    """A file of codes, of which the first `count` count; what is behind them is left from a write that failed.

    Attributes:
        path: where it is.
        count: how many codes count.
    """

    def __init__(self, path: Path, *, code_bytes: int) -> None:
        """Begin a new file, or go on with what `checked` made sure of."""
        self.path = path
        self.count = 0
        self._code_bytes = code_bytes
        self._digest = hashlib.sha256()

    @classmethod
    def checked(cls, path: Path, num_bytes: int, code_bytes: int, *, sha256: str) -> "CodesFile":
        """Return a file that is there, if the bytes that count are those that were written.

        Raises:
            OSError: it cannot be read.
            ValueError: the checksum does not hold.
        """
        file = cls(path, code_bytes=code_bytes)
        left = num_bytes
        with path.open("rb", buffering=0) as stream:
            while left and (part := stream.read(min(left, _CHUNK))):
                file._digest.update(part)
                left -= len(part)
        if left or file.sha256 != sha256:
            raise ValueError(f"the checksum of {path.name} does not hold")
        file.count = num_bytes // code_bytes
        return file

    @property
    def num_bytes(self) -> int:
        """How many bytes count."""
        return self.count * self._code_bytes

    @property
    def sha256(self) -> str:
        """Fingerprint of the codes that count."""
        return self._digest.hexdigest()

    def append(self, parts: Iterable[Bytes]) -> None:
        """Write codes [n, num_bytes] behind those that count; they are on the disk and count when this returns.

        Raises:
            OSError: they cannot be written; then nothing more counts.
        """
        digest, count = self._digest.copy(), self.count
        try:
            with self.path.open("r+b" if self.count else "wb") as stream:
                stream.seek(self.num_bytes)
                for codes in parts:
                    stream.write(codes.data)
                    digest.update(codes.data)
                    count += len(codes)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError:
            with suppress(OSError):
                os.truncate(self.path, self.num_bytes)  # give back the room that the rest would need
            raise
        self._digest, self.count = digest, count
