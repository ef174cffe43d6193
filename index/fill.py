"""Makes what a gallery does not keep of its pictures yet: those of an older program, or of another choice.

It is made from the stored pictures, as a migration does, and written beside searches and writes. Stopped or killed, it
goes on where it was: only what is missing is made.
"""

from collections.abc import Callable
from dataclasses import dataclass

from index.features import PatchTokens, is_kept_to_proofread, keep, kept_parts
from index.generations import Pending
from index.local import LocalGallery
from runtime.encoder import Encoder, Floats
from runtime.errors import GalleryError, VernierError
from runtime.preprocess.image import decode_image

Progress = Callable[[int, int], None]
"""Called with how many pictures were looked at and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillReport:
    """What became of the pictures of a gallery.

    Attributes:
        made: pictures whose features were made.
        kept_before: pictures that had them.
        without_picture: items with a picture's vector but no stored picture to make anything from.
        broken: id and reason of pictures that cannot be read.
    """

    made: int
    kept_before: int
    without_picture: int
    broken: list[tuple[str, str]]


def fill(
    gallery: LocalGallery,
    encoder: Encoder,
    *,
    patch_tokens: PatchTokens | None = None,
    again: bool = False,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> FillReport:
    """Make the features that pictures of a gallery lack.

    Args:
        gallery: of the encoder's space, open for writing.
        encoder: makes the features.
        patch_tokens: how to keep what belongs to patches from now on; None leaves it as it is. Another choice than
            before makes everything again.
        again: make everything again.
        batch_size: pictures that are embedded and written together.
        progress: told after every batch.

    Raises:
        GalleryError: `space_mismatch`, or the gallery cannot be written; what was written before stays.
        EngineError: the encoder failed.
    """
    if gallery.space != encoder.space:
        raise GalleryError(
            f"the gallery is of space {gallery.space}, and this bundle's is {encoder.space}.", code="space_mismatch"
        )
    if patch_tokens not in (None, gallery.patch_tokens):
        gallery.keep_patch_tokens(patch_tokens)
        again = True
    if again:
        gallery.forget_features()
    parts = kept_parts(encoder, gallery.patch_tokens)
    before = gallery.feature_counts(parts)
    made, after_row, broken = 0, 0, list[tuple[str, str]]()
    while parts and (items := gallery.lacking_features(parts, after_row=after_row, limit=batch_size)):
        after_row = int(items[-1].key)
        made += _make(gallery, encoder, items, broken)
        if progress is not None:
            progress(made + len(broken), before.lacking)
    return FillReport(made=made, kept_before=before.whole, without_picture=before.without_picture, broken=broken)


def _make(gallery: LocalGallery, encoder: Encoder, items: list[Pending], broken: list[tuple[str, str]]) -> int:
    pixels: list[Floats] = []
    good: list[tuple[Pending, bytes]] = []
    for item in items:
        assert item.picture is not None  # those without one are not asked for
        try:
            image = decode_image(item.picture, target_px=encoder.manifest.image.size_px)
        except VernierError as error:
            broken.append((item.id, str(error)))
            continue
        pixels.append(encoder.image_input(image))
        good.append((item, item.picture))
    found = encoder.embed_pixels(pixels, to_proofread=is_kept_to_proofread(encoder, gallery.patch_tokens))
    kept = keep(encoder, found, [picture for _, picture in good], gallery.patch_tokens)
    return gallery.put_features([(item, one) for (item, _), one in zip(good, kept, strict=True)])
