"""Progress of long work; see `vernier.progress`."""

from vernier.progress import progress

__all__ = ["progress"]
