"""Makes a golden bundle and gallery, with their answers, by today's code:  python -m tests.golden.make VERSION

What a released version wrote stays as it was written: a later one must read it and answer the same. So this refuses to
write where something is; when the bundle's or the gallery's schema changes, make another beside the old ones.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from index import NewItem, content_digest, open_folder, parse_filter, thumbnail
from index.features import Kept, keep, unpack
from index.records import NewFrames
from runtime.bundle import (
    Calibration,
    Decisions,
    GroundingFit,
    Logistic,
    Manifest,
    MatchFit,
    OutputParity,
    WordErrorFit,
    read_bundle,
    write_bundle,
)
from runtime.bundle.manifest import Choice, PrecisionReport, TaskQuality, Trial
from runtime.encoder import Encoder
from tests.unit.vernier.colour_bundle import write_colour_bundle

HERE = Path(__file__).resolve().parent
QUERIES = ("a red square", "something blue", "green and yellow", "white")
_PART = "patch_embeddings"
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
            "said_by_the_bundle": _said(encoder.manifest),
            "kept_of_pictures": _numbers(gallery.features(list(items), [_PART])),
            "frames": {
                name: [list(frames.times_s), frames.embeddings.astype(np.float64).round(6).tolist()]
                for name, frames in gallery.frames(list(items)).items()
            },
        }


def _said(manifest: Manifest) -> dict[str, object]:
    """What the manifest says beyond what every search uses."""
    told = manifest.model_dump(mode="json", include={"calibration", "decisions", "parity", "precision"})
    return {**told, "probability": manifest.calibration.match.probability(0.3)}


def _numbers(kept: Mapping[str, Kept]) -> dict[str, list[float]]:
    """What is kept of each picture's patches, as the server reads it."""
    found = {}
    for name, one in sorted(kept.items()):
        patches = unpack([one], np.zeros((1, 3), np.float32), [_PART]).patch_embeddings
        assert patches is not None
        found[name] = patches.ravel().round(4).tolist()
    return found


def main(version: str) -> None:
    """Write `tests/golden/VERSION`."""
    out = HERE / version
    out.mkdir()
    with tempfile.TemporaryDirectory() as parts:
        write_colour_bundle(Path(parts) / "bundle")
        _write_in_full(Path(parts) / "bundle", out / "bundle")
    encoder = encoder_of(out / "bundle")
    pictures = [_picture(at) for at in range(16)]
    texts = [("a red thing", "blue and green", "a yellow thing", None)[at % 4] for at in range(16)]
    seen = encoder.embed_images(pictures)
    jpegs = [thumbnail(one) for one in pictures]
    kept = keep(encoder, seen, jpegs, "int8")
    with open_folder(
        out / "gallery", space=encoder.space, dim=encoder.dim, create=True, patch_tokens="int8"
    ) as gallery:
        gallery.upsert(
            [
                NewItem(
                    id=f"picture {at:02} ü",
                    image_embedding=seen.embedding[at],
                    text_embedding=None if text is None else encoder.embed_texts([text]).embedding[0],
                    text=text,
                    metadata={"number": at, "kind": "odd" if at % 2 else "even", "tags": [f"t{at % 3}", "all"]},
                    picture=jpegs[at],
                    features=kept[at] if at % 4 else None,
                    frames=NewFrames(times_s=(0.5, 1.5), embeddings=seen.embedding[2:4], pictures=tuple(jpegs[2:4]))
                    if at == 2
                    else None,
                    content_digest=content_digest(picture=jpegs[at], text=text),
                )
                for at, text in enumerate(texts)
            ]
        )
        gallery.delete("picture 15 ü")
        gallery.snapshot()
    answers = answers_of(encoder, out / "gallery")
    (out / "gallery" / "lock").unlink()
    (out / "answers.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_in_full(colours: Path, out: Path) -> None:
    """Write the bundle with a number in every place that a manifest has for what was measured."""
    told = read_bundle(colours).manifest
    quality = TaskQuality(recall_at_1=0.5, word_auroc=0.75, acc_at_50=0.25, map_pointing=0.625)
    trial = Trial(variant="fp32", bytes=1000, ms={"1": 0.25}, quality=quality, verdict="the only one")
    fit = MatchFit(
        prior=0.5, seen=0.25, right=8, wrong=24, looked_at=4, unanswerable=8, most_false_hits=0.1, false_hits=0.05,
        recall=0.75,
    )  # fmt: skip
    words = WordErrorFit(
        method="leave_one_out", prior=0.05, seen=0.5, right_words=64, wrong_words=16, most_false_alarms=0.02,
        false_alarms=0.015625, recall=0.5,
    )  # fmt: skip
    boxes = GroundingFit(
        method="patch_similarity", present=32, absent=16, most_false_alarms=0.1, false_alarms=0.0625, recall=0.875
    )
    write_bundle(
        out,
        name=told.name,
        files={name: colours / name for name in told.files},
        image=told.image,
        text=told.text,
        graphs=told.graphs,
        embedding_dim=told.embedding_dim,
        temperature=told.temperature,
        provenance=told.provenance,
        calibration=Calibration(
            match=Logistic(scale=4, bias=-1),
            min_match=0.4,
            match_fit=fit,
            word_error=Logistic(scale=2, bias=0.5),
            word_error_threshold=0.7,
            word_error_fit=words,
            grounding=Logistic(scale=3),
            grounding_threshold=0.2,
            grounding_fit=boxes,
            fitted_on="nothing",
        ),
        parity={"image_encoder.image_embedding": OutputParity(samples=4, largest_difference=1e-6, smallest_cosine=1)},
        decisions=Decisions(
            samples=4, top_hit=1, flagged_word=1, best_correction=1, best_box=1, regions=1, codes=1, hottest_patch=1
        ),
        precision=PrecisionReport(
            asked="auto",
            validation="nothing",
            hardware="none",
            fp32=quality,
            chosen=quality,
            graphs={"image_encoder": Choice(chosen="fp32", trials=(trial,))},
        ),
    )


def _picture(at: int) -> Image.Image:
    """Return four plain quarters of colours that follow from the number."""
    corners = np.random.default_rng(at).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners.repeat(24, axis=0).repeat(24, axis=1))


if __name__ == "__main__":
    main(sys.argv[1])
