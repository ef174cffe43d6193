"""What the image encoder says of the pictures of hits: from what the gallery keeps of them, else from the pictures."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from index import Gallery
from index.features import ARRAYS, Part, unpack
from runtime.encoder import Encoder, ImageFeatures
from runtime.grounding import method_of as grounding_method_of
from runtime.word_judges import method_of as word_method_of
from runtime.word_maps import map_method_of
from server.schemas.search import Explained
from server.seeing import Seen, see
from server.service import Service
from server.stored_features import Stored, read_stored
from server.timings import Timings

_log = logging.getLogger(__name__)

TO_RERANK: frozenset[Part] = frozenset({"patch_tokens"})

_TO_GROUND: dict[str | None, frozenset[Part]] = {
    "regions": frozenset({"regions"}),
    "relevance": frozenset({"patch_tokens", "patch_embeddings"}),
    "patch_similarity": frozenset({"patch_embeddings"}),
    None: frozenset(),
}
_TO_MAP: dict[str | None, frozenset[Part]] = {
    "grad_cam": frozenset({"patch_tokens"}),
    "attention": frozenset({"patch_tokens"}),
    "patch_similarity": frozenset({"patch_embeddings"}),
    None: frozenset(),
}
_TO_JUDGE: dict[str, frozenset[Part]] = {
    "word_errors": frozenset({"proof"}),
    "masked_words": frozenset({"patch_tokens"}),
    "leave_one_out": frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HitFeatures:
    """Of some hits, in their order.

    Attributes:
        ids: hits that have a picture.
        features: [hits], with the parts that were wanted.
        sizes_px: width and height of each stored picture.
        pictures_read: how many of them had to be decoded and embedded.
    """

    ids: list[str]
    features: ImageFeatures
    sizes_px: list[tuple[int, int]]
    pictures_read: int


def to_explain(encoder: Encoder, wanted: Collection[Explained], *, with_heatmaps: bool) -> frozenset[Part]:
    """Name what explaining hits of a bundle takes."""
    to_ground = _TO_GROUND[grounding_method_of(encoder.manifest)] if "regions" in wanted else frozenset()
    to_map = _TO_MAP[map_method_of(encoder.manifest)] if with_heatmaps else frozenset()
    return to_ground | to_map | (_TO_JUDGE[word_method_of(encoder)] if "words" in wanted else frozenset())


async def features_of_hits(
    service: Service,
    gallery: Gallery,
    ids: Sequence[str],
    parts: frozenset[Part],
    *,
    to_proofread: bool,
    stored: Stored | None = None,
) -> HitFeatures | None:
    """Gather features of the pictures of hits; those that have none are left out, and None is returned if none has.

    Args:
        service: of the gallery.
        gallery: that the hits are of.
        ids: the hits.
        parts: what is wanted of their pictures.
        to_proofread: whether texts will be proofread against them.
        stored: what the gallery keeps of these parts of all of them, where it is read already.

    Raises:
        GalleryError: the gallery cannot be read.
        EngineError: the engine failed.
    """
    held = await service.store(read_stored, gallery, ids, parts) if stored is None else stored
    kept, seen = held.kept, dict[str, Seen]()
    if files := [item_id for item_id in ids if item_id in held.files]:
        unmeasured = Timings()  # the caller's stage counts it
        pictures = await asyncio.gather(
            *(see(service, held.files[item_id], unmeasured, to_proofread=to_proofread) for item_id in files)
        )
        seen = dict(zip(files, pictures, strict=True))
        _tell(service, gallery, len(seen))
    found = [item_id for item_id in ids if item_id in kept or item_id in seen]
    if not found:
        return None
    from_store = [item_id for item_id in found if item_id in kept]
    sizes = {item_id: kept[item_id].size_px for item_id in from_store} | {k: v.size_px for k, v in seen.items()}
    return HitFeatures(
        ids=found,
        features=_joined(found, from_store, held, seen, parts),
        sizes_px=[sizes[item_id] for item_id in found],
        pictures_read=len(seen),
    )


def _joined(
    ids: Sequence[str],
    from_store: Sequence[str],
    stored: Stored,
    seen: Mapping[str, Seen],
    parts: frozenset[Part],
) -> ImageFeatures:
    """Stack the features of all pictures in the order of the hits."""
    stacks: list[ImageFeatures] = []
    if from_store:
        embeddings = np.stack([stored.vectors[item_id] for item_id in from_store])
        stacks.append(unpack([stored.kept[item_id] for item_id in from_store], embeddings, parts))
    if not seen:
        return stacks[0]
    stacks += [picture.features for picture in seen.values()]
    place = {item_id: at for at, item_id in enumerate([*from_store, *seen])}
    names = ["embedding", *(name for part in sorted(parts) for name in ARRAYS[part])]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in stacks]) for name in names}
    nothing = {"patch_tokens": np.zeros((len(place), 0, 0), np.float32), "patch_embeddings": None}
    return ImageFeatures(**{**nothing, **arrays})[[place[item_id] for item_id in ids]]


def _tell(service: Service, gallery: Gallery, number: int) -> None:
    """Count pictures that were looked at anew, and say once for each gallery what would spare that."""
    service.metrics.pictures_read.inc(number)
    name = gallery.info().name
    if name in service.told_to_fill:
        return
    service.told_to_fill.add(name)
    _log.warning(
        "hits are looked at anew: the gallery keeps no features of their pictures; `vernier index features` makes them",
        extra={"fields": {"event": "pictures_read", "gallery": name, "patch_tokens": gallery.patch_tokens}},
    )
