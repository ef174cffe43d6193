"""Brings a clip-retrieval or autofaiss folder into a gallery: its vectors as they are, never embedded again.

That is right only when the bundle is the model that made them, which neither a number of dimensions nor a name proves.
So some of the pictures, or of the captions, are embedded here and compared before anything is written.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.checks import content_digest
from index.clip_folder import ClipFolder, Row, read_clip_folder
from index.gallery import Gallery
from index.ingest import Progress
from index.records import Floats, NewItem, Outcome
from index.thumbnails import LONGEST_PX, thumbnail
from runtime.encoder import Encoder
from runtime.errors import DataError, ImageError
from runtime.preprocess.image import decode_image

SAMPLE = 32
"""How many pictures or captions are compared."""

SAME_SPACE = 0.9
"""Least median cosine between a vector that came and our own of the same picture or caption.

On 600 drawn scenes with the demo bundle: 1.000 in half precision and in SQ8, 0.99 and 0.98 product-quantised to a 16th
and a 32nd (codebooks trained on the same 600), -0.08 in the same space turned at random.
"""

_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of the rows.

    Attributes:
        pictures: rows whose picture was found and is kept for showing, reranking and another model.
        compared: how many were embedded here and compared; 0 when it was taken on trust.
        cosine: the median of what was compared; None when nothing was.
    """

    created: int
    replaced: int
    unchanged: int
    pictures: int
    compared: int
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Proved:
    """A folder whose vectors are those of the bundle, by comparison or on trust; see `ImportReport`."""

    source: ClipFolder
    compared: int
    cosine: float | None


def prove_clip_folder(
    encoder: Encoder, folder: Path, *, images_dir: Path | None = None, is_trusted: bool = False
) -> Proved:
    """Read a folder (`index.clip_folder` says what may be in it) and compare its vectors with our own.

    Args:
        encoder: the model that made the vectors.
        folder: what is to be imported.
        images_dir: where `image_path` is looked for when it is not where it was.
        is_trusted: go on even when there is nothing to compare with; a comparison that fails still refuses.

    Raises:
        DataError: `source_missing`, `index_invalid`; `space_unproved` when nothing can be compared and it is not
            trusted; `space_mismatch` when another model made the vectors.
    """
    source = read_clip_folder(folder)
    if source.dim != encoder.dim:
        raise DataError(
            f"{folder} holds vectors of {source.dim} numbers and the bundle '{encoder.manifest.name}' makes "
            f"{encoder.dim}: another model made them. Import that model with `vernier import`, and name its bundle.",
            code="space_mismatch",
        )
    compared, cosine = _compare(source, encoder, images_dir)
    if cosine is None and not is_trusted:
        raise DataError(
            f"nothing in {folder} tells which model made it: no picture of its rows is to be found and no caption has "
            "a vector. Say where the pictures are with --images, or take it on trust with --trust.",
            code="space_unproved",
        )
    if cosine is not None and cosine < SAME_SPACE:
        raise DataError(
            f"another model made the vectors of {folder}: of {compared} that were embedded with bundle "
            f"'{encoder.manifest.name}' for comparison, the median cosine is {cosine:.3f} (the same model gives "
            f"{SAME_SPACE} at least).",
            code="space_mismatch",
        )
    return Proved(source, compared, cosine)


def import_clip_folder(
    gallery: Gallery,
    encoder: Encoder,
    proved: Proved,
    *,
    images_dir: Path | None = None,
    picture_px: int = LONGEST_PX,
    progress: Progress | None = None,
) -> ImportReport:
    """Import what was proved.

    An item's id is the row's `key`, or else its `image_path`, or else `row-` and its number. A caption becomes the
    item's text; where no vector of it came, it is embedded here. The other columns become metadata.

    Args:
        gallery: of the encoder's space.
        encoder: as in `prove_clip_folder`.
        proved: what that returned.
        images_dir: as there.
        picture_px: longest side of the pictures that are stored.
        progress: told after every batch.

    Raises:
        DataError: `index_invalid`: a part cannot be read.
        GalleryError: the gallery cannot be written.
    """
    source = proved.source
    outcomes: Counter[Outcome] = Counter()
    done = pictures = 0
    for rows in source.rows(_BATCH):
        items = _items(rows, encoder, images_dir, picture_px)
        outcomes.update(gallery.upsert(items))
        pictures += sum(item.picture is not None for item in items)
        done += len(rows)
        if progress is not None:
            progress(done, source.count)
    gallery.upkeep()
    return ImportReport(
        created=outcomes["created"],
        replaced=outcomes["replaced"],
        unchanged=outcomes["unchanged"],
        pictures=pictures,
        compared=proved.compared,
        cosine=proved.cosine,
    )


def _compare(source: ClipFolder, encoder: Encoder, images_dir: Path | None) -> tuple[int, float | None]:
    """How many rows were embedded here, and the median cosine with what came; None when none could be."""
    cosines: list[float] = []
    for rows in source.rows(_BATCH):
        for row in rows[:: max(1, _BATCH // SAMPLE)]:
            found = _ours(row, encoder, images_dir)
            if found is not None:
                ours, theirs = found
                cosines.append(float(ours @ theirs))
            if len(cosines) == SAMPLE:
                return SAMPLE, float(np.median(cosines))
    return len(cosines), float(np.median(cosines)) if cosines else None


def _ours(row: Row, encoder: Encoder, images_dir: Path | None) -> tuple[Floats, Floats] | None:
    file = _file_of(row, images_dir)
    if row.image is not None and file is not None:
        try:
            return encoder.embed_images([decode_image(file.read_bytes())]).embedding[0], row.image
        except (OSError, ImageError):
            return None
    if row.text is not None and row.caption is not None:
        return encoder.embed_texts([row.caption]).embedding[0], row.text
    return None


def _items(rows: Sequence[Row], encoder: Encoder, images_dir: Path | None, picture_px: int) -> list[NewItem]:
    untold = [row.caption for row in rows if row.caption is not None and row.text is None]
    embedded = iter(encoder.embed_texts(untold).embedding) if untold else iter(())
    items = []
    for row in rows:
        text_embedding = row.text if row.text is not None or row.caption is None else next(embedded)
        file, picture = _picture_of(row, images_dir, picture_px)
        vectors = b"".join(vector.tobytes() for vector in (row.image, row.text) if vector is not None)
        items.append(
            NewItem(
                id=_id_of(row),
                image_embedding=row.image,
                text_embedding=text_embedding,
                text=row.caption,
                metadata={name: value for name, value in row.fields.items() if name not in ("caption", "key")},
                picture=picture,
                content_digest=content_digest(picture=file or vectors, text=row.caption),
            )
        )
    return items


def _id_of(row: Row) -> str:
    for name in ("key", "image_path"):
        if row.fields.get(name):
            return str(row.fields[name]).lstrip("/")
    return f"row-{row.number:09d}"


def _file_of(row: Row, images_dir: Path | None) -> Path | None:
    named = row.fields.get("image_path")
    if not isinstance(named, str):
        return None
    places = [Path(named)]
    if images_dir is not None:
        places = [images_dir / named.lstrip("/"), images_dir / Path(named).name]
    return next((place for place in places if place.is_file()), None)


def _picture_of(row: Row, images_dir: Path | None, picture_px: int) -> tuple[bytes | None, bytes | None]:
    """The picture's file and what is stored of it; neither where there is none that can be read."""
    file = _file_of(row, images_dir)
    if file is None:
        return None, None
    try:
        data = file.read_bytes()
        return data, thumbnail(decode_image(data, target_px=picture_px), longest_px=picture_px)
    except (OSError, ImageError):
        return None, None
