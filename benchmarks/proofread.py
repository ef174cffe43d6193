"""Measures what proofreading costs by the proof-reader graph, beside the ways that take a pass for each word.

    python -m benchmarks.proofread [BUNDLE] [--captions 20] [--rounds 15] [--json OUT]

Time does not depend on what weights say, so without a bundle one with random weights is made: the model of the recipe
`training.recipes.vilem:small`, as it would be exported. The same bundle is asked with and without its fusion graph
(which gives `match`, else the cosine does), and in each case with its proof-reader and without: by masked words where
there is a fusion graph, by leaving words out where there is none. `times_word_errors` is the median time of a request
over that by `word_errors` with the same match, the ways in turn, so that other load hits all alike. A request is a
picture with one caption in which no word is called an error, with one in which one word is (its corrections are looked
for, and the best is put in), or with all captions and no error. `picture_ms` is the image pass, which all ways share,
and is in no other number.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

import scenes
from benchmarks.report import Report, made_by, write_report
from runtime.encoder import Encoder
from runtime.proofread import proofread_many
from runtime.word_judges import method_of

Key = TypeVar("Key")


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--captions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = asked.bundle or random_bundle(Path(folder) / "random")
        encoder = Encoder.load(bundle, provider="cpu", num_threads=asked.threads)
    report = {
        **made_by("benchmarks.proofread"),
        "bundle": encoder.manifest.name,
        "recipe": encoder.manifest.provenance.recipe,
        "threads": asked.threads,
        **measure(encoder, num_captions=asked.captions, rounds=asked.rounds),
    }
    write_report(report, asked.json)


def measure(encoder: Encoder, *, num_captions: int, rounds: int) -> Report:
    """Time requests of one caption and of many, each way."""
    drawn = [scenes.generate(5, at, split="test", size_px=encoder.manifest.image.size_px) for at in range(num_captions)]
    picture, captions = drawn[0].image, [scene.caption for scene in drawn]
    image = encoder.embed_images([picture], to_proofread=True)
    ways = ways_of(encoder)

    def request(way: Encoder, texts: Sequence[str], *, errors: bool) -> Callable[[], object]:
        (proof,) = proofread_many(way, image, texts[:1], num_suggestions=0)
        worst = max(word.error_probability for word in proof.words)
        return lambda: proofread_many(way, image, texts, threshold=worst if errors else 1.0)

    found: Report = {
        "words_per_caption": float(np.mean([len(caption.split()) for caption in captions])),
        "picture_ms": in_turn({"picture": lambda: encoder.embed_images([picture], to_proofread=True)}, rounds)[
            "picture"
        ],
    }
    for name, texts, errors in (
        ("one_caption_no_error", captions[:1], False),
        ("one_caption_one_error", captions[:1], True),
        (f"{num_captions}_captions_no_error", captions, False),
    ):
        times = in_turn({key: request(way, texts, errors=errors) for key, way in ways.items()}, rounds)
        found[name] = {
            matching: {
                method: {"ms": ms, "times_word_errors": ms / times[matching, "word_errors"]}
                for (other, method), ms in times.items()
                if other == matching
            }
            for matching in dict.fromkeys(matching for matching, _ in times)
        }
    return found


def ways_of(encoder: Encoder) -> dict[tuple[str, str], Encoder]:
    """The same bundle with and without its graphs, by where match comes from and how words are judged."""
    found: dict[tuple[str, str], Encoder] = {}
    calibration = encoder.manifest.calibration.model_copy(update={"word_error_fit": None})  # which names one way
    manifest = encoder.manifest.model_copy(update={"calibration": calibration})
    for matching, without in (("match_by_fusion", set[str]()), ("match_by_cosine", {"fusion"})):
        if matching == "match_by_fusion" and not encoder.has_fusion:
            continue
        for left_out in (without, without | {"proof_reader"}):
            engines = {name: engine for name, engine in encoder.engines.items() if name not in left_out}
            way = Encoder(manifest, encoder.text_transform, engines, lexicon=encoder.lexicon)
            found[matching, method_of(way)] = way
    return found


def in_turn(calls: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, float]:
    """Median milliseconds of each call, one of each in every round, after one that is not counted."""
    times: dict[Key, list[float]] = {name: [] for name in calls}
    for round_number in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if round_number:
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: float(np.median(measured)) for name, measured in times.items()}


def random_bundle(out: Path) -> Path:
    """A bundle of the recipe's model as it is before training, without the gates of an export."""
    import torch

    from export.graphs import plan_graphs
    from export.onnx_file import OPSET, write_onnx
    from runtime.bundle import Graph, ImageInput, Provenance, TextInput, write_bundle
    from training.recipes import baseline, vilem

    torch.manual_seed(0)
    config, data = vilem.small(), baseline.small().data
    source = data.open(None, tokenizer=data.tokenizer(None), batch_size=2, seed=0)
    texts, transform = source.text_transform, source.image_transform
    model = config.model.build(texts.vocabulary_size).eval()
    side = transform.size_px
    plans = plan_graphs(
        model, pixels=torch.zeros(2, 3, side, side), max_subwords=texts.max_subwords, vocab_size=texts.vocabulary_size
    )
    parts = out.parent / "parts"
    parts.mkdir()
    files = {f"{plan.name}.onnx": parts / f"{plan.name}.onnx" for plan in plans}
    for plan in plans:
        write_onnx(plan, files[f"{plan.name}.onnx"], max_subwords=texts.max_subwords)
    files |= {"tokenizer.json": parts / "tokenizer.json", "lexicon.json": parts / "lexicon.json"}
    texts.tokenizer.save(str(files["tokenizer.json"]))
    files["lexicon.json"].write_text(json.dumps(source.lexicon()))
    rows, columns = model.image_encoder.grid
    write_bundle(
        out,
        name="random",
        files=files,
        image=ImageInput(size_px=side, patch_rows=rows, patch_columns=columns),
        text=TextInput(max_subwords=texts.max_subwords, lexicon="lexicon.json"),
        graphs={
            plan.name: Graph(
                file=f"{plan.name}.onnx", precision="fp32", opset=OPSET, inputs=plan.inputs(), outputs=plan.outputs
            )
            for plan in plans
        },
        embedding_dim=model.config.dim,
        temperature=0.07,
        provenance=Provenance(recipe=config.recipe, data="none: random weights"),
    )
    return out


if __name__ == "__main__":
    main()
