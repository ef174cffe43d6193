"""Everything that needs an NVIDIA GPU, in one table: providers proved, parity, speed against the card's own, FAISS.

    make gpu            or, with whatever Python the machine has:   python3 -m benchmarks.gpu [--out FILE]

It takes the packages that the machine happens to have. What is missing is skipped by name, and a section that fails
says so in its row; the exit status is 1 when one failed, 0 otherwise, also without a GPU.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "bundles" / "demo"
BATCHES = (1, 8, 32, 128)
FAISS_ITEMS = 500_000
VIT_GFLOP = 8.7  # of ViT-B/32 at 224 px, a multiply and an add counted as two


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    section: str
    what: str
    state: str  # ok, skipped, failed
    found: str


class SkipSection(Exception):  # noqa: N818  it is no error
    """Something that the section needs is not there; the message names it."""


def main() -> int:
    """Run every section, print the table, and say by the exit status whether one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the table there, as JSON")
    given = parser.parse_args()
    card = find_card()
    if card is None:
        print("There is no NVIDIA GPU on this machine (nvidia-smi is missing or lists none): nothing was checked.")
        for row in missing_packages():
            print(f"  {row.what}: {row.found}")
        print("Run `make gpu` on a machine that has one; `make test` covers what a CPU can show.")
        return 0
    print(f"GPU: {card}")
    rows = list(missing_packages())
    shared: dict[str, Any] = {}
    for section in (card_speed, checks, providers, parity, speed, faiss_search):
        rows += attempt(section, shared)
    width = [max(len(getattr(row, field)) for row in rows) for field in ("section", "what", "state")]
    for row in rows:
        print("  ".join([row.section.ljust(width[0]), row.what.ljust(width[1]), row.state.ljust(width[2]), row.found]))
    if given.out:
        result = {
            "gpu": card,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": "python -m benchmarks.gpu",
            "rows": [asdict(row) for row in rows],
        }
        given.out.write_text(json.dumps(result, indent=2) + "\n")
    return int(any(row.state == "failed" for row in rows))


def find_card() -> str | None:
    """Return the first GPU's name, driver, memory and compute capability, or None."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = "--query-gpu=name,driver_version,memory.total,compute_cap"
    ran = subprocess.run([tool, query, "--format=csv,noheader"], capture_output=True, text=True)
    lines = ran.stdout.strip().splitlines()
    return lines[0] if ran.returncode == 0 and lines else None


def missing_packages() -> Iterator[Row]:
    """Say which of the packages that GPU work can use are here."""
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    for module, names in {
        "torch": ("torch",),
        "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
        "tensorrt": ("tensorrt", "tensorrt-cu13"),
        "cuda": ("cuda-bindings",),
        "faiss": ("faiss-gpu", "faiss-gpu-cuvs", "faiss-cpu"),
        "onnx": ("onnx",),
    }.items():
        found = []
        for name in names:
            try:
                found.append(f"{name} {version(name)}")
            except PackageNotFoundError:
                continue
        is_there = find_spec(module) is not None
        yield Row("packages", module, "ok" if is_there else "skipped", ", ".join(found) or "not installed")


def attempt(section: Callable[[dict[str, Any]], Iterator[Row]], shared: dict[str, Any]) -> list[Row]:
    """Run one section; what goes wrong in it is a row."""
    name = section.__name__.replace("_", " ")
    rows: list[Row] = []
    try:
        rows.extend(section(shared))
    except (SkipSection, ImportError) as error:
        rows.append(Row(name, "", "skipped", _line(error)))
    except Exception as error:  # every section is to be tried
        rows.append(Row(name, "", "failed", f"{type(error).__name__}: {_line(error)}"))
    return rows


def card_speed(shared: dict[str, Any]) -> Iterator[Row]:
    """The card's own bandwidth and matrix rate, as torch reaches them."""
    torch = _torch()
    values = torch.empty(1 << 28, device="cuda")
    other = torch.empty_like(values)
    seconds = _cuda_seconds(torch, lambda: other.copy_(values))
    shared["bytes_per_s"] = 2 * values.numel() * 4 / seconds
    yield Row("card", "copy", "ok", f"{shared['bytes_per_s'] / 1e9:.0f} GB/s read and written")
    for kind in (torch.float16, torch.bfloat16):
        a = torch.randn(8192, 8192, device="cuda", dtype=kind)
        seconds = _cuda_seconds(torch, lambda a=a: a @ a)
        shared["flop_per_s"] = max(shared.get("flop_per_s", 0), 2 * 8192**3 / seconds)
        yield Row(
            "card",
            f"8192 x 8192 {str(kind).removeprefix('torch.')}",
            "ok",
            f"{2 * 8192**3 / seconds / 1e12:.0f} TFLOP/s",
        )


def checks(shared: dict[str, Any]) -> Iterator[Row]:
    """The tests marked gpu."""
    del shared
    try:
        import pytest
    except ImportError as error:
        raise SkipSection("pytest is not installed, so tests/gpu did not run") from error
    del pytest
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-rs", "tests/gpu", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = ran.stdout.strip().splitlines()
    yield Row("checks", "pytest -m gpu", "ok" if ran.returncode in (0, 5) else "failed", lines[-1] if lines else "")
    for line in lines:
        if line.startswith(("SKIPPED", "FAILED", "ERROR")):
            yield Row("checks", "", "skipped" if line.startswith("SKIPPED") else "failed", line[:160])


def providers(shared: dict[str, Any]) -> Iterator[Row]:
    """Which providers run the demo bundle's graphs, shown by running them."""
    from runtime.encoder import Encoder
    from runtime.errors import VernierError

    working = shared.setdefault("providers", [])
    bundle = _built(shared) if _has("tensorrt") else DEMO
    for name in ("tensorrt", "tensorrt-ep", "cuda", "cpu"):
        try:
            encoder = Encoder.load(bundle, provider=name)
            encoder.embed_texts(["a small red circle"])
        except VernierError as error:
            yield Row("providers", name, "skipped", _line(error))
            continue
        working.append(name)
        yield Row("providers", name, "ok", "the demo bundle runs")


def parity(shared: dict[str, Any]) -> Iterator[Row]:
    """fp16 on CUDA and on TensorRT against fp32 on the CPU, on drawn scenes."""
    from export.drawn import drawn_cases
    from export.parity import agreement, measure, samples_of
    from export.variants import write_variant
    from runtime.encoder import Encoder
    from runtime.engines import start_engine

    reference = Encoder.load(DEMO, provider="cpu")
    cases = drawn_cases(100, size_px=reference.manifest.image.size_px)
    samples = samples_of(reference, cases)
    graphs = reference.manifest.graphs
    for name in shared.get("providers", []):
        if name in ("cpu", "tensorrt-ep"):
            continue
        if name == "tensorrt":
            engines = dict(Encoder.load(_built(shared), provider=name).engines)
        else:
            folder = Path(tempfile.mkdtemp())
            engines = {}
            for graph, spec in graphs.items():
                write_variant("fp16", DEMO / spec.file, folder / spec.file)
                engines[graph] = start_engine(folder / spec.file, provider=name)
        report = measure(graphs, reference.engines, engines, samples)
        whole = Encoder(reference.manifest, reference.text_transform, engines, lexicon=reference.lexicon)
        for output, found in report.outputs.items():
            text = f"largest difference {found.largest_difference:.2e}, smallest cosine {found.smallest_cosine:.6f}"
            yield Row(f"parity {name} fp16", output, "ok", text)
        same = agreement(reference, whole, cases)
        text = f"top hit {same.top_hit:.1%}, flagged word {same.flagged_word:.1%}, best box {same.best_box:.1%}"
        yield Row(f"parity {name} fp16", "decisions", "ok", f"{text} of {same.samples}")


def speed(shared: dict[str, Any]) -> Iterator[Row]:
    """ViT-B/32 of random weights per batch: torch, CUDA and TensorRT, against the card's own rates."""
    import numpy as np

    torch = _torch()
    from benchmarks.engines import vit_b_32
    from export.variants import write_variant
    from runtime.engines import start_engine
    from runtime.engines.onnx import available_providers

    model = vit_b_32().cuda().half()
    runs: dict[str, Callable[[Any], Any]] = {}

    def by_torch(pixels: Any) -> Any:  # noqa: ANN401
        with torch.inference_mode():
            return model(torch.from_numpy(pixels).cuda().half()).cpu()

    runs["torch fp16"] = by_torch
    if "cuda" in available_providers() and _has("onnx"):
        folder = Path(tempfile.mkdtemp())
        from benchmarks.engines import write_vit

        write_vit(str(folder / "vit.onnx"))
        write_variant("fp16", folder / "vit.onnx", folder / "vit16.onnx")
        for label, file in (("cuda fp32", "vit.onnx"), ("cuda fp16", "vit16.onnx")):
            engine = start_engine(folder / file, provider="cuda")
            runs[label] = lambda pixels, engine=engine: engine.run({"pixels": pixels})
        if _has("tensorrt"):
            native = _tensorrt_vit(folder / "vit16.onnx")
            runs["tensorrt fp16"] = lambda pixels: native.run({"pixels": pixels})
        else:
            yield Row("speed tensorrt fp16", "", "skipped", "tensorrt is not installed")
    else:
        yield Row("speed", "onnxruntime", "skipped", "this machine's onnxruntime offers no CUDA, or onnx is missing")
    weights = sum(parameter.numel() for parameter in model.parameters()) * 2
    for batch in BATCHES:
        pixels = np.random.default_rng(batch).normal(size=(batch, 3, 224, 224)).astype(np.float32)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(5):
            for run in runs.values():
                run(pixels)
        for _ in range(20):
            for name, run in runs.items():
                before = time.perf_counter()
                run(pixels)
                times[name].append(time.perf_counter() - before)
        for name, measured in times.items():
            median = statistics.median(measured)
            share = batch * VIT_GFLOP * 1e9 / median / shared["flop_per_s"] if "flop_per_s" in shared else 0
            read = weights / median / shared["bytes_per_s"] if "bytes_per_s" in shared else 0
            text = (
                f"{1000 * median:.2f} ms, {batch / median:.0f} pictures/s, {share:.1%} of the matrix rate, "
                f"weights read at {read:.1%} of the bandwidth"
            )
            yield Row(f"speed {name}", f"batch {batch}", "ok", text)


def _tensorrt_vit(file: Path) -> Any:  # noqa: ANN401
    """Our own TensorRT engine of the ViT, one profile per batch size that is measured."""
    import numpy as np

    from export.tensorrt import build_plan
    from runtime.bundle import Graph
    from runtime.bundle.manifest import TensorSpec
    from runtime.engines import start_engine
    from runtime.engines.tensorrt import TensorRtEngine

    tokens = start_engine(file, provider="cuda").run({"pixels": np.zeros((1, 3, 224, 224), np.float32)})["tokens"]
    graph = Graph(
        file=file.name,
        precision="fp16",
        opset=18,
        inputs=(TensorSpec(name="pixels", dtype="float32", shape=("batch", 3, 224, 224)),),
        outputs=(TensorSpec(name="tokens", dtype="float32", shape=("batch", *tokens.shape[1:])),),
    )
    plan = build_plan(
        file, graph, batches=BATCHES, max_subwords=1, timing_cache=file.with_suffix(".cache"), progress=lambda _: None
    )
    return TensorRtEngine(plan, graph, batches=BATCHES, max_subwords=1)


def faiss_search(shared: dict[str, Any]) -> Iterator[Row]:
    """A gallery's search through each kind of index on the card, against the same gallery on the CPU."""
    del shared
    import faiss
    import numpy as np

    from benchmarks.index import DIM, clustered
    from index import NewItem, open_folder
    from index.card_kinds import CARD_KINDS, GpuBuild
    from index.cards import Cards

    build = GpuBuild()
    if not build.num_cards():
        raise SkipSection(build.why_none())
    vectors, queries = clustered(FAISS_ITEMS, DIM, num_queries=512)
    _, wanted = faiss.knn(queries, vectors, 10, metric=faiss.METRIC_INNER_PRODUCT)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_folder(Path(folder) / "card", space="benchmark", dim=DIM, create=True) as gallery,
    ):
        for start in range(0, len(vectors), 1000):
            part = enumerate(vectors[start : start + 1000], start)
            gallery.upsert([NewItem(id=str(at), image_embedding=vector, content_digest="") for at, vector in part])
        gallery.tune()
        on_cpu = {number: _search_ms(gallery, queries, number) for number in (1, 64)}
        for kind in CARD_KINDS:
            cards = Cards(kind)
            before = time.perf_counter()
            if cards:
                gallery.bring_to_cards(cards)
            seconds = time.perf_counter() - before
            if gallery.info().index_kind != f"gpu-{kind}":
                yield Row("faiss", kind, "skipped" if "no CAGRA" in str(cards.fallback) else "failed", cards.fallback)
                continue
            found = gallery.search(queries, top_k=10)
            pairs = zip(found, wanted.tolist(), strict=True)
            recall = float(np.mean([len({int(hit.id) for hit in hits} & set(best)) / 10 for hits, best in pairs]))
            times = "; ".join(
                f"{number} at once {_search_ms(gallery, queries, number):.2f} ms ({ms:.2f} on the CPU)"
                for number, ms in on_cpu.items()
            )
            state = "ok" if recall >= 0.95 and cards.fallback is None else "failed"
            yield Row("faiss", kind, state, f"recall@10 {recall:.3f}, ready in {seconds:.1f} s; {times}")
            gallery.tune()  # makes the index anew, without the card
            cards.close()


def _search_ms(gallery: Any, queries: Any, at_once: int) -> float:  # noqa: ANN401
    """Return the median of what searching so many queries takes."""
    times = []
    for start in range(0, len(queries), at_once):
        before = time.perf_counter()
        gallery.search(queries[start : start + at_once], top_k=10)
        times.append(time.perf_counter() - before)
    return 1000 * statistics.median(times)


def _torch() -> Any:  # noqa: ANN401
    import torch

    if not torch.cuda.is_available():
        raise SkipSection("this build of torch sees no GPU")
    return torch


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _built(shared: dict[str, Any]) -> Path:
    """A copy of the demo bundle in fp16 with TensorRT engines, built once."""
    if "built" not in shared:
        from export.tensorrt import build_engines
        from tests.gpu.half import write_half_bundle

        folder = Path(tempfile.mkdtemp()) / "demo-fp16"
        write_half_bundle(DEMO, folder)
        build_engines(folder)
        shared["built"] = folder
    return Path(shared["built"])


def _cuda_seconds(torch: Any, run: Callable[[], Any], *, repeats: int = 10) -> float:  # noqa: ANN401
    for _ in range(3):
        run()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(repeats):
        run()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000 / repeats


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


if __name__ == "__main__":
    sys.exit(main())
