"""Makes a golden bundle and gallery, with their answers, by today's code:  python -m tests.golden.make VERSION

What a released version wrote stays as it was written: a later one must read it and answer the same. So this refuses to
write where something is; when the bundle's or the gallery's schema changes, make another beside the old ones.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from index import NewItem, content_digest, open_folder, parse_filter, thumbnail
from runtime.encoder import Encoder
from tests.unit.vernier.colour_bundle import write_colour_bundle

HERE = Path(__file__).resolve().parent
QUERIES = ("a red square", "something blue", "green and yellow", "white")
FILTER = {"and": [{"number": {"gte": 4}}, {"not": {"kind": "odd"}}]}


def encoder_of(bundle: Path) -> Encoder:
    """Return the bundle's encoder on one thread of a CPU."""
    return Encoder.load(bundle, provider="cpu", num_threads=1)


def answers_of(encoder: Encoder, gallery_folder: Path) -> dict[str, object]:
    """Return what is asked of bundle and gallery, as JSON."""
    vectors = encoder.embed_texts(QUERIES).embedding
    with open_folder(gallery_folder, space=encoder.space, dim=encoder.dim) as gallery:
        info = gallery.info()
        found = {
            name: [[list(hit) for hit in hits] for hits in gallery.search(vectors, top_k=5, **how)]
            for name, how in {
                "images": {},
                "texts": {"target": "text"},
                "filtered": {"filter": parse_filter(FILTER)},
            }.items()
        }
        items = {item.id: [item.text, item.metadata, sorted(item.targets)] for item in gallery.page(limit=100).items}
        return {
            "space": encoder.space,
            "count": info.items,
            "text_vectors": np.asarray(vectors, np.float64).round(6).tolist(),
            "image_vectors": encoder.embed_images([_picture(at) for at in range(3)]).embedding.round(6).tolist(),
            "found": found,
            "items": items,
            "picture_digests": {at: content_digest(picture=gallery.picture(at)) for at in items},
        }


def main(version: str) -> None:
    """Write `tests/golden/VERSION`."""
    out = HERE / version
    out.mkdir()
    with tempfile.TemporaryDirectory() as parts:
        write_colour_bundle(Path(parts) / "bundle")
        shutil.copytree(Path(parts) / "bundle", out / "bundle")
    encoder = encoder_of(out / "bundle")
    pictures = [_picture(at) for at in range(16)]
    texts = [("a red thing", "blue and green", "a yellow thing", None)[at % 4] for at in range(16)]
    images = encoder.embed_images(pictures).embedding
    with open_folder(out / "gallery", space=encoder.space, dim=encoder.dim, create=True) as gallery:
        gallery.upsert(
            [
                NewItem(
                    id=f"picture {at:02} ü",
                    image_embedding=images[at],
                    text_embedding=None if text is None else encoder.embed_texts([text]).embedding[0],
                    text=text,
                    metadata={"number": at, "kind": "odd" if at % 2 else "even", "tags": [f"t{at % 3}", "all"]},
                    picture=thumbnail(pictures[at]),
                    content_digest=content_digest(picture=thumbnail(pictures[at]), text=text),
                )
                for at, text in enumerate(texts)
            ]
        )
        gallery.delete("picture 15 ü")
        gallery.snapshot()
    (out / "gallery" / "lock").unlink()
    answers = answers_of(encoder, out / "gallery")
    (out / "answers.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _picture(at: int) -> Image.Image:
    """Return four plain quarters of colours that follow from the number."""
    corners = np.random.default_rng(at).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners.repeat(24, axis=0).repeat(24, axis=1))


if __name__ == "__main__":
    main(sys.argv[1])
