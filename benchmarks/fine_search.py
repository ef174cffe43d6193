"""Measures search where pictures differ in one thing: what the reranker gains, costs, and says when nothing fits.

    python -m benchmarks.fine_search build BUNDLE --keep DIR [--pictures 20000] [--world small]
    python -m benchmarks.fine_search quality BUNDLE --keep DIR [--queries 300] [--json OUT]
    python -m benchmarks.fine_search speed BUNDLE --keep DIR [--json OUT]

`build` draws scenes of the test split, each with ten pictures that differ from it in one thing, so that no caption is
true of two of them, and stores them in two galleries, with patch tokens as int8 and as fp16. `quality` searches each
scene by its caption: R@1 of the dual encoder alone and after re-scoring 32 and 128 hits, with tokens in each precision
and (for some queries) from pictures drawn again; how often the right picture was below rank 32; how often a caption of
a picture that is not there is given a hit at the bundle's `min_match`, and at its threshold for such galleries; and how
far the probabilities can be believed.
`speed` asks a server in this process, over its routes: a search alone, with rerank and with explain, and rerank of 64
hits from stored tokens and from stored pictures, nothing being remembered from one search to the next.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

import scenes
from benchmarks.index import provenance
from index import LocalGallery, NewItem, open_folder, thumbnail
from index.features import Part, PatchTokens, is_kept_to_proofread, keep, unpack
from runtime.encoder import Encoder, ImageFeatures, TextFeatures
from scenes.edits import edit_image
from scenes.scene import Scene
from scenes.unique import Kept
from scenes.world import World
from scenes.worlds import SMALL_WORLD, WORLDS

Report = dict[str, Any]

NEIGHBOURS = 10
RERANKED = (32, 128)
SEED = 41
_BATCH = 64
_MOST_TRIES = 60
_FROM_PICTURES = 60  # queries that are also re-scored from pictures drawn again
_SHOWN = 10
_TIMED, _LEFT_OUT = 14, 2
_TOKENS: tuple[Part, ...] = ("patch_tokens",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What is searched, and by what.

    Attributes:
        pictures: id and scene of each picture.
        queries: captions of pictures that have ten neighbours, by id.
        unanswerable: captions that are true of no picture.
    """

    pictures: list[tuple[str, Scene]]
    queries: dict[str, str]
    unanswerable: list[str]


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["build", "quality", "speed"])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--world", choices=sorted(WORLDS), default="full", help="of things that are drawn")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.bundle, num_threads=1)
    told = provenance() | {"command": "python -m " + " ".join(["benchmarks.fine_search", *sys.argv[1:]])}
    if asked.what == "build":
        report = build(encoder, asked.keep, number=asked.pictures, world=WORLDS[asked.world])
        (asked.keep / "build.json").write_text(json.dumps({**told, **report}, indent=2) + "\n")
    elif asked.what == "quality":
        report = {"built": json.loads((asked.keep / "build.json").read_text())}
        report |= quality(encoder, asked.keep, number=asked.queries)
    else:
        report = asyncio.run(speed(encoder, asked.bundle, asked.keep))
    report = {**told, "bundle": encoder.manifest.name, "recipe": encoder.manifest.provenance.recipe, **report}
    if asked.json:
        held = json.loads(asked.json.read_text()) if asked.json.exists() else {}
        asked.json.write_text(json.dumps({**held, asked.what: report}, indent=2) + "\n")
    print(json.dumps(report, indent=2))


# The galleries


def draw(number: int, *, size_px: int, world: World) -> Drawn:
    """Draw pictures in families: a scene and ten that differ from it in one thing; captions are true of one each."""
    kept, pictures, queries, spare = Kept(), list[tuple[str, Scene]](), dict[str, str](), list[Scene]()
    index = 0
    while len(pictures) < number:
        scene = scenes.generate(SEED, index, split="test", size_px=size_px, world=world)
        index += 1
        if not kept.tells_apart(scene):
            continue
        kept.add(scene)
        family = [scene]
        for edited in _edits(scene, index):
            if not kept.tells_apart(edited):
                continue
            if len(family) > NEIGHBOURS:
                spare.append(edited)
                break
            kept.add(edited)
            family.append(edited)
        pictures += [(f"{index:06d}-{at:02d}", member) for at, member in enumerate(family)]
        if len(family) > NEIGHBOURS:
            queries[f"{index:06d}-00"] = scene.caption
    unanswerable = [scene.caption for scene in spare if kept.tells_apart(scene)]
    return Drawn(pictures=pictures, queries=queries, unanswerable=unanswerable)


def _edits(scene: Scene, index: int) -> Iterator[Scene]:
    for at in range(_MOST_TRIES):
        yield edit_image(scene, np.random.default_rng((SEED, index, at))).scene


def build(encoder: Encoder, place: Path, *, number: int, world: World) -> Report:
    """Draw, embed and store; return how long it took and what a picture takes."""
    place.mkdir(parents=True, exist_ok=True)
    started = time.process_time()
    size_px = encoder.manifest.image.size_px if world is SMALL_WORLD else max(96, encoder.manifest.image.size_px)
    drawn = draw(number, size_px=size_px, world=world)
    drawn_s = time.process_time() - started
    precisions: tuple[PatchTokens, ...] = ("int8", "fp16")
    galleries = {name: _gallery(encoder, place / name, name) for name in precisions}
    embedded_s = 0.0
    nbytes: dict[str, int] = dict.fromkeys(precisions, 0)
    for start in range(0, len(drawn.pictures), _BATCH):
        batch = drawn.pictures[start : start + _BATCH]
        started = time.process_time()
        to_proofread = is_kept_to_proofread(encoder, "int8")
        found = encoder.embed_images([scene.image for _, scene in batch], to_proofread=to_proofread)
        embedded_s += time.process_time() - started
        jpegs = [thumbnail(scene.image) for _, scene in batch]
        for name, gallery in galleries.items():
            kept = keep(encoder, found, jpegs, gallery.patch_tokens)
            nbytes[name] += sum(one.nbytes for one in kept)
            gallery.upsert(
                [
                    NewItem(
                        id=item_id,
                        image_embedding=found.embedding[at],
                        picture=jpegs[at],
                        features=kept[at],
                        content_digest=item_id,
                    )
                    for at, (item_id, _) in enumerate(batch)
                ]
            )
    per_picture = {
        name: {
            "feature_bytes": nbytes[name] / len(drawn.pictures),
            "file_bytes": _file_bytes(gallery) / len(drawn.pictures),
        }
        for name, gallery in galleries.items()
    }
    for gallery in galleries.values():
        gallery.close()
    asked = {"queries": drawn.queries, "unanswerable": drawn.unanswerable}
    (place / "asked.json").write_text(json.dumps(asked))
    return {
        "pictures": len(drawn.pictures),
        "queries_with_ten_neighbours": len(drawn.queries),
        "unanswerable": len(drawn.unanswerable),
        "drawing_cpu_s": round(drawn_s, 1),
        "embedding_cpu_s": round(embedded_s, 1),
        "per_picture": per_picture,
    }


def _gallery(encoder: Encoder, place: Path, patch_tokens: PatchTokens) -> LocalGallery:
    return open_folder(place, space=encoder.space, dim=encoder.dim, create=True, patch_tokens=patch_tokens)


def _file_bytes(gallery: LocalGallery) -> int:
    gallery.compact()
    return gallery.stats().file_bytes


# What is found


def quality(encoder: Encoder, place: Path, *, number: int) -> Report:
    """Search by captions of pictures that are there and of some that are not."""
    asked = json.loads((place / "asked.json").read_text())
    wanted = list(asked["queries"])[:number]
    captions = [asked["queries"][item_id] for item_id in wanted]
    nothing_fits = asked["unanswerable"][:number]
    report: Report = {"queries": len(wanted), "unanswerable_queries": len(nothing_fits)}
    for precision in ("fp16", "int8"):
        with open_folder(place / precision, read_only=True) as gallery:
            texts = encoder.embed_texts([*captions, *nothing_fits])
            hits = [[match.id for match in found] for found in gallery.search(texts.embedding, top_k=max(RERANKED))]
            looked_at = [found if row < len(wanted) else found[:_SHOWN] for row, found in enumerate(hits)]
            scores = [_scores(encoder, gallery, texts, row, found) for row, found in enumerate(looked_at)]
            right = np.asarray([_place(found, item_id) for found, item_id in zip(hits, wanted, strict=False)])
            if precision == "fp16":
                report |= _of_dual_encoder(right)
                report["from_pictures"] = _against_pictures(encoder, gallery, texts, hits, scores)
            report[precision] = _of_reranker(encoder, scores, right)
    return report


def _scores(
    encoder: Encoder, gallery: LocalGallery, texts: TextFeatures, row: int, found: Sequence[str]
) -> NDArray[np.float32]:
    """Raw match scores of one query with its hits, from the stored tokens."""
    kept = gallery.features(found, _TOKENS)
    images = unpack([kept[item_id] for item_id in found], np.zeros((len(found), 0), np.float32), _TOKENS)
    return encoder.match_scores(texts[np.full(len(found), row)], images)


def _place(found: Sequence[str], item_id: str) -> int:
    """Where the right picture is among the hits; their number when it is not."""
    return found.index(item_id) if item_id in found else len(found)


def _of_dual_encoder(right: NDArray[np.int64]) -> Report:
    below = {f"below_rank_{rank}": float((right >= rank).mean()) for rank in RERANKED}
    return {"dual_r@1": float((right == 0).mean()), **below}


def _of_reranker(encoder: Encoder, scores: Sequence[NDArray[np.float32]], right: NDArray[np.int64]) -> Report:
    report: Report = {}
    answerable = scores[: len(right)]
    for number in RERANKED:
        is_found = [int(one[:number].argmax()) == at for one, at in zip(answerable, right, strict=True)]
        report[f"rerank_{number}_r@1"] = float(np.mean(is_found))
        report[f"rerank_{number}_interval"] = _interval(np.asarray(is_found, np.float64))
    calibration = encoder.manifest.calibration
    logistic, fit = calibration.match, calibration.match_fit
    probabilities = [np.asarray([logistic.probability(float(s)) for s in one[:_SHOWN]]) for one in scores]
    if calibration.min_match is not None:
        report |= _at_threshold(probabilities, right, calibration.min_match)
    if fit is not None and fit.neighbours is not None:
        report["among_neighbours"] = _at_threshold(probabilities, right, fit.neighbours.min_match)
    report["reliability"] = _reliability(probabilities[: len(right)], right)
    return report


def _at_threshold(probabilities: Sequence[NDArray[np.float64]], right: NDArray[np.int64], least: float) -> Report:
    """What a threshold does to queries with a right picture, which come first, and to those that nothing satisfies."""
    answerable, unanswerable = probabilities[: len(right)], probabilities[len(right) :]
    passing = [p[at] >= least for p, at in zip(answerable, right, strict=True) if at < _SHOWN]
    return {
        "min_match": least,
        "false_hit_rate": float(np.mean([(p >= least).any() for p in unanswerable])),
        "right_picture_kept": float(np.mean(passing)),
        "empty_answers_to_answerable": float(np.mean([not (p >= least).any() for p in answerable])),
    }


def _interval(values: NDArray[np.float64]) -> list[float]:
    rng = np.random.default_rng(0)
    draws = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(2000)]
    return [float(end) for end in np.quantile(draws, [0.025, 0.975])]


def _reliability(probabilities: Sequence[NDArray[np.float64]], right: NDArray[np.int64]) -> list[Report]:
    """Of the first ten hits: the mean probability in each fifth, beside the share that is right."""
    said = np.concatenate(probabilities)
    is_right = np.concatenate([np.arange(len(p)) == at for p, at in zip(probabilities, right, strict=True)])
    bins = np.clip((said * 5).astype(int), 0, 4)
    return [
        {
            "said": float(said[bins == at].mean()),
            "right": float(is_right[bins == at].mean()),
            "pairs": int((bins == at).sum()),
        }
        for at in range(5)
        if (bins == at).any()
    ]


def _against_pictures(
    encoder: Encoder,
    gallery: LocalGallery,
    texts: TextFeatures,
    hits: Sequence[Sequence[str]],
    scores: Sequence[NDArray[np.float32]],
) -> Report:
    """Compare scores by stored tokens with those by the stored pictures, embedded again."""
    from runtime.preprocess.image import decode_image

    differences, same_first = [], []
    for row, found in enumerate(hits[:_FROM_PICTURES]):
        some = found[: RERANKED[0]]
        files = gallery.pictures(some)
        images: ImageFeatures = encoder.embed_images([decode_image(files[item_id]) for item_id in some])
        again = encoder.match_scores(texts[np.full(len(some), row)], images)
        differences.append(np.abs(again - scores[row][: len(some)]))
        same_first.append(int(again.argmax()) == int(scores[row][: len(some)].argmax()))
    return {
        "queries": len(differences),
        "mean_difference_of_logits": float(np.mean(differences)),
        "same_first_hit": float(np.mean(same_first)),
        "note": "stored pictures are JPEG; tokens were made before",
    }


# How long it takes


async def speed(encoder: Encoder, bundle: Path, place: Path) -> Report:
    """Ask a server with galleries that keep tokens and one that keeps none."""
    from server.app import create_app
    from server.service import Service
    from server.settings import Settings

    captions = list(json.loads((place / "asked.json").read_text())["queries"].values())
    with tempfile.TemporaryDirectory() as folder:
        galleries = Path(folder)
        (galleries / "int8").symlink_to((place / "int8").resolve())
        (galleries / "fp16").symlink_to((place / "fp16").resolve())
        _without_features(encoder, place / "int8", galleries / "none", number=1_000)
        settings = Settings(bundle=bundle, galleries_dir=galleries, cache_bytes=0, engine_threads=1, decode_workers=1)
        app = create_app(settings, service=Service(settings, encoder=encoder))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client,
        ):
            report: Report = {"search": await _timed(client, captions, gallery="int8"), "times": {}}
            asked: dict[str, dict[str, Any]] = {
                "rerank_32": {"rerank": 32},
                "rerank_128": {"rerank": 128},
                "rerank_64": {"rerank": 64},
                "rerank_64_fp16": {"rerank": 64, "gallery": "fp16"},
                "explain_10_boxes": {"explain": ["regions"]},
                "explain_10_words": {"explain": ["words"]},
                "explain_10": {"explain": True},
                "rerank_64_from_pictures": {"rerank": 64, "gallery": "none"},
                "explain_10_from_pictures": {"explain": True, "gallery": "none"},
            }
            for name, query in asked.items():
                taken = await _timed(client, captions, **{"gallery": "int8", **query})
                ratio = taken["cpu_ms"] / report["search"]["cpu_ms"]
                report["times"][name] = {**taken, "cpu_ratio_to_search": ratio}
            times = report["times"]
            for name in ("rerank_64", "explain_10"):
                ratio = times[f"{name}_from_pictures"]["cpu_ms"] / times[name]["cpu_ms"]
                report[f"{name}_from_pictures_to_stored"] = ratio
    return report


def _without_features(encoder: Encoder, source: Path, place: Path, *, number: int) -> None:
    with (
        open_folder(source, read_only=True) as gallery,
        open_folder(place, space=encoder.space, dim=encoder.dim, create=True, patch_tokens="none") as bare,
    ):
        ids = [item.id for item in gallery.page(limit=number).items]
        vectors, pictures = gallery.vectors(ids), gallery.pictures(ids)
        bare.upsert(
            [NewItem(id=one, image_embedding=vectors[one], picture=pictures[one], content_digest=one) for one in ids]
        )


async def _timed(client: httpx.AsyncClient, captions: Sequence[str], **query: Any) -> Report:  # noqa: ANN401
    """Milliseconds of searches one after another: the median of each, and the CPU of all threads, a search.

    The first two are left out. CPU is what can be compared where other work runs beside it.
    """
    taken, cpu_started = [], 0.0
    for number, caption in enumerate(captions[:_TIMED]):
        if number == _LEFT_OUT:
            cpu_started = time.process_time()
        started = time.perf_counter()
        answer = await client.post("/search", json={"text": caption, "include": [], **query})
        taken.append((time.perf_counter() - started) * 1000)
        assert answer.status_code == 200, answer.text
    cpu_ms = (time.process_time() - cpu_started) * 1000 / (len(taken) - _LEFT_OUT)
    return {"ms": round(float(np.median(taken[_LEFT_OUT:])), 3), "cpu_ms": round(cpu_ms, 3)}


if __name__ == "__main__":
    main()
