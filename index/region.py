"""Memory of a fixed room whose beginning may be the pages of a file, read from the disk only when they are touched."""

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_MAP_FIXED = 0x10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_longlong]
_MAP_FAILED = ctypes.c_void_p(-1).value


class Region:
    """Room for so many bytes, zero at first; what is not touched takes no memory.

    Attributes:
        bytes: all of it. Where a file lies it can only be read.
    """

    def __init__(self, num_bytes: int) -> None:
        self._memory = mmap.mmap(-1, max(1, num_bytes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.bytes: Bytes = np.frombuffer(self._memory, np.uint8)

    def __len__(self) -> int:
        return len(self.bytes)

    def lay(self, file: Path, num_bytes: int, *, start: int = 0) -> None:
        """Let the first bytes be those of a file, which must not change any more.

        Bytes that were here already must be the same: then this may be done while others read. Whole pages are laid;
        what is left of the last one is copied. Giving back pages that are replaced makes others wait, some 40 ms for
        half a gigabyte: what was laid already is best left alone.

        Args:
            file: to read from.
            num_bytes: how many of its bytes.
            start: so many of them are laid already.

        Raises:
            OSError: the file cannot be read or mapped.
            ValueError: it is shorter.
        """
        whole = num_bytes - num_bytes % mmap.PAGESIZE
        start -= start % mmap.PAGESIZE
        with file.open("rb", buffering=0) as stream:
            if os.fstat(stream.fileno()).st_size < num_bytes:
                raise ValueError(f"{file.name} is shorter than {num_bytes} bytes")
            if whole > start:
                flags = mmap.MAP_PRIVATE | _MAP_FIXED
                where = self.bytes.ctypes.data + start
                at = _libc.mmap(where, whole - start, mmap.PROT_READ, flags, stream.fileno(), start)
                if at == _MAP_FAILED:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), str(file))
            stream.seek(whole)
            rest = stream.read(num_bytes - whole)
        self.bytes[whole:num_bytes] = np.frombuffer(rest, np.uint8)
