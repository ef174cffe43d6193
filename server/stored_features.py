"""What a gallery keeps of the pictures of some items, read in one go; on a thread, for it may wait for the disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from index import Gallery
from index.features import Kept, Part
from runtime.encoder import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Of some items.

    Attributes:
        kept: by id, of those of which all that was wanted is kept.
        vectors: by id, of the same.
        files: by id, the stored pictures of the others.
    """

    kept: Mapping[str, Kept]
    vectors: Mapping[str, Floats]
    files: Mapping[str, bytes]


def read_stored(gallery: Gallery, ids: Sequence[str], parts: frozenset[Part]) -> Stored:
    """Read parts of what is kept of items; see `Stored`.

    Raises:
        GalleryError: the gallery cannot be read.
    """
    kept = {item_id: one for item_id, one in gallery.features(ids, parts).items() if parts <= set(one.parts)}
    vectors = gallery.vectors(list(kept))
    kept = {item_id: one for item_id, one in kept.items() if item_id in vectors}
    files = gallery.pictures([item_id for item_id in ids if item_id not in kept])
    return Stored(kept=kept, vectors=vectors, files=files)
