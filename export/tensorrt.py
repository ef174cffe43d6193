"""TensorRT engines of a bundle, built on the GPU that will run them.

The ONNX graph says the precision of every operation, and the network is strongly typed, so TensorRT changes none: a
bundle exported in fp16 gives fp16 engines whose layer norms and soft-max stay wide. Only names that TensorRT 10.16 and
11 have in common are used (`tests/contracts/test_tensorrt.py`).

Plans are written beside their place, held against ONNX Runtime on drawn scenes, and only then entered into the record
that the runtime reads: what did not agree never serves.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.drawn import drawn_cases
from export.parity import TOLERANCE, ParityReport, agreement, check, measure, samples_of
from runtime.bundle import Graph, read_bundle
from runtime.bundle.digest import file_digest
from runtime.bundle.manifest import GraphName, OutputParity, TensorSpec
from runtime.bundle.reader import Bundle
from runtime.encoder import Encoder
from runtime.engines import Engine
from runtime.engines.cuda import compute_capability
from runtime.engines.plans import RECORD, Plan, Record, folder_of, key_of, read_record
from runtime.engines.tensorrt import TensorRtEngine, plan_file_name, tensorrt
from runtime.errors import EngineError, ExportError

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

BATCHES = (1, 8, 32)
PARITY_SAMPLES = 100

_WORKSPACE_BYTES = 4 << 30
_STEPS = 100  # of progress that a graph's build is shown in


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginesReport:
    """What was built.

    Attributes:
        folder: where the plans lie.
        record: what they are, with their parity.
        built: the graphs that were built now; the others were there already.
    """

    folder: Path
    record: Record
    built: tuple[GraphName, ...]


def build_engines(
    directory: Path, *, batches: Sequence[int] = BATCHES, force: bool = False, progress: Progress | None = None
) -> EnginesReport:
    """Build a TensorRT engine for each graph of a bundle, unless it is there already.

    Args:
        directory: the bundle; engines go into its folder `engines`.
        batches: the batch sizes to build for, each with an optimisation profile of its own.
        force: build again what is there.
        progress: called as the builds go on.

    Raises:
        EngineError: `provider_unavailable` without a GPU or without TensorRT; `engine_failed` when a graph cannot be
            built.
        ExportError: `parity_failed` when an engine does not say what ONNX Runtime says; `precision_unsupported` when a
            graph holds what TensorRT cannot run.
        BundleError: the bundle cannot be read.
    """
    bundle = read_bundle(directory)
    trt, capability = tensorrt(), compute_capability()
    version = str(trt.__version__)
    _refuse_dynamic_int8(bundle)
    folder = folder_of(bundle, tensorrt=version, compute_capability=capability)
    known = None if force else read_record(folder)
    wanted = tuple(sorted(set(batches)))
    plans: dict[GraphName, Plan] = {}
    missing: list[GraphName] = []
    for name in bundle.manifest.graphs:
        key = key_of(bundle, name, tensorrt=version, compute_capability=capability)
        plan = known.plans.get(name) if known else None
        if plan is not None and plan.key == key and plan.batches == wanted and _is_whole(folder, plan):
            plans[name] = plan
        else:
            missing.append(name)
    if not missing:
        return EnginesReport(folder=folder, record=Record(plans=plans), built=())
    folder.parent.mkdir(exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        cache = folder.parent / f"timing-{capability}-trt{version}.cache"
        for number, name in enumerate(missing):
            body = build_plan(
                bundle.graph_file(name),
                bundle.manifest.graphs[name],
                batches=wanted,
                max_subwords=bundle.manifest.text.max_subwords,
                timing_cache=cache,
                progress=_part_of(progress, number, len(missing)),
            )
            (staging / plan_file_name(bundle.manifest.graphs[name])).write_bytes(body)
        for kept in plans.values():
            shutil.copyfile(folder / kept.file, staging / kept.file)
        parity = _parity(bundle, staging, wanted)
        for name in missing:
            graph = bundle.manifest.graphs[name]
            plans[name] = Plan(
                file=plan_file_name(graph),
                sha256=file_digest(staging / plan_file_name(graph)),
                key=key_of(bundle, name, tensorrt=version, compute_capability=capability),
                batches=wanted,
                parity=_of_graph(name, parity),
            )
        record = Record(plans={name: plans[name] for name in bundle.manifest.graphs})
        (staging / RECORD).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        staging.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return EnginesReport(folder=folder, record=record, built=tuple(missing))


def profile_shapes(
    graph: Graph, *, at_least: int, batch: int, max_subwords: int
) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Return the least, the usual and the greatest shape of each input of a graph, for one batch size.

    Args:
        graph: whose inputs.
        at_least: the smallest batch that comes to this profile.
        batch: the greatest, which is also the usual one, since batches are filled up.
        max_subwords: the longest text.
    """
    usual = min(32, max_subwords)

    def shape(spec: TensorSpec, rows: int, length: int) -> tuple[int, ...]:
        known = {"batch": rows, "subwords": length}
        return tuple(known[side] if isinstance(side, str) else side for side in spec.shape)

    return {
        spec.name: (shape(spec, at_least, 1), shape(spec, batch, usual), shape(spec, batch, max_subwords))
        for spec in graph.inputs
    }


def _refuse_dynamic_int8(bundle: Bundle) -> None:
    report = bundle.manifest.precision
    dynamic = [name for name, choice in report.graphs.items() if choice.chosen == "int8_dynamic"] if report else []
    if dynamic:
        raise ExportError(
            f"TensorRT cannot run {', '.join(dynamic)} of bundle '{bundle.manifest.name}': int8 with ranges taken as "
            "inputs come. Export the checkpoint with --precision fp16.",
            code="precision_unsupported",
        )


def _is_whole(folder: Path, plan: Plan) -> bool:
    file = folder / plan.file
    return file.is_file() and file_digest(file) == plan.sha256


def build_plan(
    file: Path,
    graph: Graph,
    *,
    batches: Sequence[int],
    max_subwords: int,
    timing_cache: Path,
    progress: Callable[[float], None],
) -> bytes:
    """Build the engine of one ONNX file, serialised.

    Args:
        file: the ONNX file, whose own types are kept.
        graph: its inputs and outputs.
        batches: one optimisation profile for each, smallest first.
        max_subwords: the longest text.
        timing_cache: read where it is there, and written.
        progress: called with the share that is done.

    Raises:
        EngineError: `provider_unavailable` without TensorRT; `engine_failed` when the graph cannot be built.
    """
    trt = tensorrt()
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(file.read_bytes()):
        said = "; ".join(parser.get_error(at).desc() for at in range(parser.num_errors))
        raise EngineError(f"TensorRT cannot read {file}: {said}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.progress_monitor = _monitor(trt, progress)
    cache = config.create_timing_cache(timing_cache.read_bytes() if timing_cache.is_file() else b"")
    config.set_timing_cache(cache, True)  # a cache of another GPU is passed over
    at_least = 1
    for batch in batches:
        profile = builder.create_optimization_profile()
        shapes = profile_shapes(graph, at_least=at_least, batch=batch, max_subwords=max_subwords)
        for tensor, (least, usual, most) in shapes.items():
            profile.set_shape(tensor, least, usual, most)
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"TensorRT does not take the profile of batch {batch} for {file.name}.")
        at_least = batch  # batches are filled up to the profile's, so a profile is only ever run at its greatest
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT could not build an engine of {file}; its log above says why.")
    timing = config.get_timing_cache()
    if timing is not None:
        timing_cache.write_bytes(bytes(timing.serialize()))
    return bytes(plan)


def _monitor(trt: Any, progress: Callable[[float], None]) -> Any:  # noqa: ANN401
    """TensorRT's phases nest; the outermost one's steps are what is shown."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the bindings have no types
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._outermost: str | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            if parent_phase is None and self._outermost is None:
                self._outermost = phase_name

        def phase_finish(self, phase_name: str) -> None:
            if phase_name == self._outermost:
                progress(1.0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self._outermost:
                progress((step + 1) / max(1, self._steps[phase_name]))
            return True

    return Monitor()


def _part_of(progress: Progress | None, number: int, count: int) -> Callable[[float], None]:
    def report(share: float) -> None:
        if progress is not None:
            progress(round((number + min(1.0, share)) * _STEPS), count * _STEPS)

    return report


def _parity(bundle: Bundle, staging: Path, batches: Sequence[int]) -> ParityReport:
    """Hold the engines against ONNX Runtime on the CPU; raises when they are too far apart."""
    reference = Encoder.load(bundle.directory, provider="cpu")
    engines: dict[str, Engine] = {
        name: TensorRtEngine(
            (staging / plan_file_name(graph)).read_bytes(),
            graph,
            batches=batches,
            max_subwords=bundle.manifest.text.max_subwords,
        )
        for name, graph in bundle.manifest.graphs.items()
    }
    found = Encoder(bundle.manifest, reference.text_transform, engines, lexicon=reference.lexicon)
    cases = drawn_cases(PARITY_SAMPLES, size_px=bundle.manifest.image.size_px)
    told = measure(bundle.manifest.graphs, reference.engines, engines, samples_of(reference, cases))
    report = ParityReport(outputs=told.outputs, scale=told.scale, decisions=agreement(reference, found, cases))
    precisions = {graph.precision for graph in bundle.manifest.graphs.values()}
    # fp32 engines multiply in TF32, which has fp16's digits
    check(report, TOLERANCE["int8" if "int8" in precisions else "fp16"], what="The engines")
    return report


def _of_graph(name: GraphName, report: ParityReport) -> dict[str, OutputParity]:
    return {key: value for key, value in report.outputs.items() if key.startswith(f"{name}.")}
