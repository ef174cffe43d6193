"""Engines on this CPU: what our engine costs over ONNX Runtime, what int8 gains, what it takes to hold them.

    python -m benchmarks.engines                     ViT-B/32 and BERT-base of random weights
    python -m benchmarks.engines --bundle DIR …      size, speed and quality of a bundle's graphs at each precision
    python -m benchmarks.engines --base              export of training.recipes.baseline:base from a random checkpoint

Everything that is compared runs in turn within one process (the export in one of its own), so that other load on the
machine hits all alike. Ratios are of medians and of least times.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (1, 8)
TEXT_LENGTH = 24
_BERT_VOCABULARY, _SPECIAL = 30522, 5
_TRAINED_ON = 520  # pictures of the made-up data; a batch of the recipe takes 512


def main() -> None:
    """Run what was asked for and write it down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="a bundle whose precisions are compared")
    parser.add_argument("--validation", type=Path, nargs="*", help="validation rows for it; drawn scenes when left out")
    parser.add_argument("--pairs", type=int, default=480, help="drawn scenes to validate on")
    parser.add_argument("--images", type=Path, help="their pictures")
    parser.add_argument("--base", action="store_true", help="export the recipe base")
    parser.add_argument("--keep", type=Path, help="where the towers' graphs are kept between runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="where the result goes")
    given = parser.parse_args()
    if given.bundle:
        result, name = of_bundle(given), f"engines-{given.bundle.resolve().name}.json"
        if given.bundle.resolve().name == "bundle":
            name = f"engines-{given.bundle.resolve().parent.name}.json"
    elif given.base:
        result, name = of_base(), "engines-base-export.json"
    else:
        result, name = of_towers(given.threads, given.rounds, given.keep), "engines-towers.json"
    result |= {
        "command": "python -m benchmarks.engines " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "hardware": f"{len(_cores())} cores of {_processor()}, shared with other work",
    }
    out = given.out or ROOT / "benchmarks" / "results" / name
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def of_towers(threads: int, rounds: int, keep: Path | None) -> dict[str, Any]:
    """ViT-B/32 and BERT-base: bare ONNX Runtime, our engine, and our engine in int8, in turn."""
    import onnxruntime as ort

    from export.variants import write_variant
    from runtime.engines import start_engine

    found: dict[str, Any] = {"threads": threads, "rounds": rounds, "text_length": TEXT_LENGTH, "towers": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for tower, write in (("vit-b-32", write_vit), ("bert-base", write_bert)):
            file, small = folder / f"{tower}.onnx", folder / f"{tower}-int8.onnx"
            if not small.is_file():
                in_own_process(write, file)
                write_variant("int8_dynamic", file, small)
            options = ort.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            bare = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            ours, int8 = (start_engine(f, num_threads=threads) for f in (file, small))
            rows: dict[str, Any] = {}
            for batch in BATCHES:
                inputs = _inputs(tower, batch)
                contestants: dict[str, Callable[[], Any]] = {
                    "bare": lambda inputs=inputs, bare=bare: bare.run(None, inputs),
                    "engine": lambda inputs=inputs, ours=ours: ours.run(inputs),
                    "int8": lambda inputs=inputs, int8=int8: int8.run(inputs),
                }
                rows[str(batch)] = _ratios(_in_turn(contestants, rounds))
            cosine = _cosine(ours.run(_inputs(tower, 4)), int8.run(_inputs(tower, 4)))
            found["towers"][tower] = {
                "batches": rows,
                "megabytes": {"fp32": file.stat().st_size / 1e6, "int8": small.stat().st_size / 1e6},
                "int8_least_cosine": cosine,
                "peak_memory_mb": {
                    name: in_own_process(_run_once, f, tower, threads) for name, f in (("fp32", file), ("int8", small))
                },
            }
            del bare, ours, int8
    return found


def of_bundle(given: argparse.Namespace) -> dict[str, Any]:
    """Size, speed and quality of a bundle with every graph in each precision, and what `auto` takes."""
    from evaluation.pictures import open_picture
    from export.assemble import QUANTISING_SAMPLES, graph_inputs
    from export.choose import choose
    from export.parity import case_of
    from export.task_quality import quality, read_validation, validation_of, with_edits
    from export.variants import VARIANTS, write_variant
    from runtime.encoder import Encoder
    from runtime.engines import start_engine
    from training.data.source import Sample

    encoder = Encoder.load(given.bundle, provider="cpu", num_threads=given.threads)
    manifest = encoder.manifest
    if any(graph.precision != "fp32" for graph in manifest.graphs.values()):
        raise SystemExit(
            f"{given.bundle} is not in fp32; name the bundle that `vernier export` made without --precision"
        )
    files = {name: given.bundle / graph.file for name, graph in manifest.graphs.items()}
    found: dict[str, Any] = {"bundle": manifest.name, "space": manifest.space, "recipe": manifest.provenance.recipe}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if given.validation:
            validation = read_validation(given.validation, images=given.images)
            rows = validation.rows.retrieval[-QUANTISING_SAMPLES:]
            quantising = [
                Sample(image=open_picture(validation.images, row.image), caption=row.captions[0]) for row in rows
            ]
        else:
            drawn = _drawn_samples(QUANTISING_SAMPLES + given.pairs, manifest.image.size_px)
            quantising = drawn[:QUANTISING_SAMPLES]
            validation = validation_of(drawn[QUANTISING_SAMPLES:], work / "validation", name="drawn scenes (val)")
        inputs = graph_inputs(encoder, quantising)
        by_variant: dict[str, Any] = {}
        for variant in VARIANTS:
            engines, size = {}, 0
            for name, file in files.items():
                target = file if variant == "fp32" else work / f"all-{name}.{variant}.onnx"
                if variant != "fp32":
                    write_variant(variant, file, target, samples=inputs[name])
                engines[name] = start_engine(target, num_threads=given.threads)
                size += target.stat().st_size
            whole = Encoder(manifest, encoder.text_transform, engines, lexicon=encoder.lexicon)
            by_variant[variant] = {"encoder": whole, "megabytes": size / 1e6}
        rows_of = {name: batches[0] for name, batches in inputs.items()}
        speed = {
            f"{name} at {batch}": _ratios(
                _in_turn(
                    {
                        variant: (
                            lambda engine=entry["encoder"].engines[name], name=name, batch=batch: engine.run(
                                {key: values[:batch] for key, values in rows_of[name].items()}
                            )
                        )
                        for variant, entry in by_variant.items()
                    },
                    given.rounds,
                ),
                base="fp32",
            )
            for name in files
            for batch in BATCHES
        }
        found |= {
            "validation": validation.name,
            "speed": speed,
            "all_graphs_in": {
                variant: {
                    "megabytes": entry["megabytes"],
                    "quality": quality(entry["encoder"], validation).model_dump(),
                }
                for variant, entry in by_variant.items()
            },
        }
        edited = with_edits(quantising, seed=0)
        cases = [case_of(sample.image, sample.caption, sample.edited or sample.caption) for sample in edited]
        chosen = choose(
            "auto", encoder, files, work, inputs=inputs, validation=validation, cases=cases, tick=lambda: None
        )
        found["auto"] = {
            "chosen": dict(chosen.variants),
            "megabytes": sum(file.stat().st_size for file in chosen.files.values()) / 1e6,
            "report": chosen.report.model_dump(),
        }
    return found


def of_base() -> dict[str, Any]:
    """Export the recipe base (random weights, random pictures of its own size) and say what that took."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = in_own_process(_write_base_checkpoint, Path(folder))
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "vernier", "export", checkpoint, "--data", str(Path(folder) / "data"),
                   "--out", str(Path(folder) / "bundle"), "--json"]  # fmt: skip
        ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        size = sum(file.stat().st_size for file in (Path(folder) / "bundle").iterdir()) / 1e6
        report = json.loads(ran.stdout)
    return {
        "seconds": seconds,
        "processor_seconds": used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        "peak_memory_mb": used.ru_maxrss / 1024,
        "megabytes": size,
        "parity": report["parity"],
        "decisions": report["decisions"],
    }


def in_own_process(call: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401
    """Run a function of this file in a process of its own, so that its memory is not ours; what it returns is JSON."""
    code = (
        "import json, sys; from pathlib import Path; from benchmarks import engines\n"
        f"print(json.dumps(engines.{call.__name__}(*json.loads(sys.argv[1]))))"
    )
    given = json.dumps([str(a) if isinstance(a, Path) else a for a in arguments])
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, given], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(ran.stdout.splitlines()[-1])


def vit_b_32() -> Any:  # noqa: ANN401  a module, made where torch is
    """ViT-B/32 of random weights, pixels to tokens."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    return _tokens_of(CLIPVisionModel(CLIPVisionConfig(patch_size=32)))


def write_vit(file: str) -> None:
    """Write that as a graph."""
    _export(vit_b_32(), {"pixels": _inputs("vit-b-32", 2)["pixels"]}, file)


def write_bert(file: str) -> None:
    """Write BERT-base of random weights as a graph, ids and mask to tokens."""
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(layer_norm_eps=1e-5), add_pooling_layer=False)
    _export(_tokens_of(model), _inputs("bert-base", 2), file)


def _tokens_of(model: Any) -> Any:  # noqa: ANN401
    import torch

    model.config._attn_implementation = "eager"

    class Tokens(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:  # noqa: ANN401
            if len(inputs) == 1:
                return self.model(pixel_values=inputs[0]).last_hidden_state
            bias = (1 - inputs[1].float())[:, None, None, :] * -1e4
            return self.model(input_ids=inputs[0], attention_mask=bias.expand(-1, 1, inputs[0].shape[1], -1))[0]

    return Tokens().eval()


def _export(module: Any, example: dict[str, np.ndarray], file: str) -> None:  # noqa: ANN401
    import onnx
    import torch

    from export.canonical import save_canonical

    batch = torch.export.Dim("batch")
    length = torch.export.Dim("subwords", min=2, max=128)
    shapes = tuple({0: batch} if name == "pixels" else {0: batch, 1: length} for name in example)
    torch.onnx.export(
        module.eval(), tuple(torch.from_numpy(value) for value in example.values()), file, dynamo=True,
        external_data=False, opset_version=18, input_names=list(example), output_names=["tokens"],
        dynamic_shapes=(shapes,), verbose=False,
    )  # fmt: skip
    save_canonical(onnx.load(file), Path(file))


def _run_once(file: str, tower: str, threads: int) -> float:
    """Peak memory, in MB, of a process that does nothing but hold and run one graph."""
    from runtime.engines import start_engine

    engine = start_engine(Path(file), num_threads=threads)
    for batch in BATCHES:
        engine.run(_inputs(tower, batch))
    # not ru_maxrss: that begins with the parent's
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def _write_base_checkpoint(folder: str) -> str:
    """A checkpoint of the recipe base as training would write it, of random weights, and pictures beside it."""
    from PIL import Image

    import scenes
    from training.checkpoint import Progress, write_checkpoint
    from training.data.tokenizer import word_tokenizer
    from training.recipes.baseline import base

    data = Path(folder) / "data"
    (data / "images").mkdir(parents=True)
    said: set[str] = set()
    with (data / "captions.jsonl").open("w") as lines:
        for index in range(_TRAINED_ON + 200):
            scene = scenes.generate(0, index, split="val", size_px=256)
            Image.Image.save(scene.image, data / "images" / f"{index}.png")
            said |= set(scene.caption.lower().split())
            split = "val" if index >= _TRAINED_ON else "train"
            lines.write(json.dumps({"image": f"{index}.png", "captions": [scene.caption], "split": split}) + "\n")
    config = base(data)
    words = sorted(said)
    words += [f"filler{number}" for number in range(_BERT_VOCABULARY - len(words) - _SPECIAL)]
    tokenizer = word_tokenizer(words)
    model = config.model.build(tokenizer.get_vocab_size())
    checkpoint = write_checkpoint(
        Path(folder) / "work", config=config, tokenizer=tokenizer, progress=Progress(step=0, metrics={}),
        model=model.state_dict(), average=None, training_state={},
    )  # fmt: skip
    return str(checkpoint)


def _drawn_samples(count: int, size_px: int) -> list[Any]:
    import scenes
    from training.data.source import Sample

    found: dict[str, Any] = {}
    index = 0
    while len(found) < count:
        scene = scenes.generate(0, index, split="val", size_px=size_px)
        edited = scenes.edit_caption(scene, np.random.default_rng((0, index))).caption
        phrases = tuple((phrase.text, phrase.box) for phrase in scene.phrases)
        found.setdefault(
            scene.caption, Sample(image=scene.image, caption=scene.caption, edited=edited, phrases=phrases)
        )
        index += 1
    return list(found.values())


def _inputs(tower: str, batch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(batch)
    if tower == "vit-b-32":
        return {"pixels": rng.normal(size=(batch, 3, 224, 224)).astype(np.float32)}
    ids = rng.integers(1000, 30000, (batch, TEXT_LENGTH))
    return {"ids": ids, "mask": np.ones_like(ids)}


def _in_turn(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run()
    names = list(contestants)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:  # nobody always goes first
            before = time.perf_counter()
            contestants[name]()
            times[name].append(1000 * (time.perf_counter() - before))
    return times


def _ratios(times: dict[str, list[float]], base: str | None = None) -> dict[str, Any]:
    summary = {
        name: {"median_ms": round(statistics.median(t), 3), "least_ms": round(min(t), 3)} for name, t in times.items()
    }
    if base is not None:
        return {
            **summary,
            "times_as_fast_as_fp32": {
                name: round(min(times[base]) / min(t), 3) for name, t in times.items() if name != base
            },
        }
    bare, engine, int8 = (sorted(times[name]) for name in ("bare", "engine", "int8"))
    return {
        **summary,
        "engine_over_bare": {
            "median": round(statistics.median(engine) / statistics.median(bare), 4),
            "least": round(engine[0] / bare[0], 4),
        },
        "int8_times_as_fast": {
            "median": round(statistics.median(engine) / statistics.median(int8), 3),
            "least": round(engine[0] / int8[0], 3),
        },
    }


def _cosine(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    x, y = (next(iter(side.values())).reshape(4, -1) for side in (a, b))
    return float(np.min(np.sum(x * y, axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)))


def _cores() -> Sequence[int]:
    import os

    return sorted(os.sched_getaffinity(0))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _commit() -> str:
    ran = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return ran.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
