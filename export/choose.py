"""The precision of each graph: the fastest variant that costs the task nothing to speak of.

Convolutions and transformers, trained and random ones, bear int8 differently, so nothing is taken for granted: each
variant of each graph is written, timed on this machine against the others in turn, and asked the validation questions
with the other graphs in fp32, the fastest first. The first that loses no more than half a point on any number is taken.
A variant must also decide as fp32 does (nearest picture, wrong word, best box): questions without boxes say nothing of
boxes. What was taken graph by graph is asked once more all together, and graphs go back to fp32 until that passes too.
"""

import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.parity import TOLERANCE, Case, agreement, disagreements
from export.task_quality import Validation, losses, quality
from export.variants import Variant, write_variant
from runtime.bundle.manifest import Choice, GraphName, Precision, PrecisionReport, TaskQuality, Trial
from runtime.encoder import Encoder
from runtime.engines import Engine, start_engine
from runtime.engines.protocol import Arrays
from runtime.errors import ExportError

_CANDIDATES: Mapping[str, tuple[Variant, ...]] = {
    "fp16": ("fp16",),
    "int8": ("int8_dynamic", "int8_static"),
    "auto": ("int8_dynamic", "int8_static", "fp16"),
}
ASKED = ("fp32", *_CANDIDATES)

_BATCHES = (1, 8)
_ROUNDS = 9
_LONGEST_S = 4.0
_LEAST_GAIN = 1.1  # a variant must be this much faster to displace fp32: less is within what timings scatter


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was taken.

    Attributes:
        files: the file of each graph.
        variants: of each graph.
        report: how it came about, for the manifest.
    """

    files: Mapping[GraphName, Path]
    variants: Mapping[GraphName, Variant]
    report: PrecisionReport


def precision_of(variant: Variant) -> Precision:
    """Return the precision that a variant belongs to."""
    return "int8" if variant in ("int8_dynamic", "int8_static") else variant  # type: ignore[return-value]


def choose(
    asked: str,
    encoder: Encoder,
    files: Mapping[GraphName, Path],
    folder: Path,
    *,
    inputs: Mapping[GraphName, Sequence[Arrays]],
    validation: Validation,
    cases: Sequence[Case],
    tick: Callable[[], None],
) -> Chosen:
    """Take a variant for each graph.

    Args:
        asked: `fp16`, `int8` or `auto`. By name, only variants of that precision are taken, and one that loses too much
            is refused; `auto` takes fp32 where nothing faster passes.
        encoder: of the bundle in fp32.
        files: its graphs.
        folder: where variants are written.
        inputs: for each graph, batches of real inputs: for calibration and timing.
        validation: what quality is asked of.
        cases: what must be decided as in fp32.
        tick: called after each graph.

    Raises:
        ExportError: `quality_failed` when the precision asked for by name costs too much.
    """
    before = quality(encoder, validation)
    gate = _Gate(encoder=encoder, before=before, validation=validation, cases=cases)
    trials: dict[GraphName, list[Trial]] = {}
    taken: dict[GraphName, Variant] = {}
    engines: dict[tuple[GraphName, Variant], Engine] = {(name, "fp32"): encoder.engines[name] for name in files}
    written: dict[tuple[GraphName, Variant], Path] = {(name, "fp32"): file for name, file in files.items()}
    for name in files:
        trials[name] = []
        for variant in _CANDIDATES[asked]:
            file = folder / f"{name}.{variant}.onnx"
            try:
                write_variant(variant, files[name], file, samples=inputs[name])
                engines[name, variant] = start_engine(file)
            except Exception as error:
                if asked != "auto":
                    raise
                verdict = f"cannot be had: {' '.join(str(error).split())}"[:300]
                trials[name].append(Trial(variant=variant, bytes=0, verdict=verdict))
                continue
            written[name, variant] = file
        mine = {variant: engine for (graph, variant), engine in engines.items() if graph == name}
        sizes = {variant: written[name, variant].stat().st_size for variant in mine}
        taken[name] = _take(asked, name, mine, sizes, inputs[name], gate, trials[name])
        tick()

    def together() -> tuple[TaskQuality, list[str]]:
        return gate.ask({name: engines[name, variant] for name, variant in taken.items()}, loosest(taken.values()))

    after, lost = together()
    while lost:
        back = _worst(before, trials, taken)
        if asked != "auto" or back is None:
            raise _refusal(asked, "the graphs together", lost)
        trials[back].append(
            Trial(
                variant="fp32",
                bytes=files[back].stat().st_size,
                verdict=f"taken after all: with the other graphs' variants, {'; '.join(lost)}",
            )
        )
        taken[back] = "fp32"
        after, lost = together()
    report = PrecisionReport(
        asked=asked,
        validation=validation.name,
        hardware=_hardware(),
        fp32=before,
        chosen=after,
        graphs={name: Choice(chosen=taken[name], trials=tuple(trials[name])) for name in files},
    )
    return Chosen(files={name: written[name, taken[name]] for name in files}, variants=taken, report=report)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gate:
    """What engines must pass in place of the bundle's own in fp32."""

    encoder: Encoder
    before: TaskQuality
    validation: Validation
    cases: Sequence[Case]

    def ask(self, engines: Mapping[GraphName, Engine], precision: Precision) -> tuple[TaskQuality, list[str]]:
        """The quality with these engines, and what speaks against them."""
        changed = dict(self.encoder.engines)
        changed.update({str(name): engine for name, engine in engines.items()})
        encoder = self.encoder
        trial = Encoder(encoder.manifest, encoder.text_transform, changed, lexicon=encoder.lexicon)
        found = quality(trial, self.validation)
        lost = losses(self.before, found)
        if not lost and precision != "fp32":
            lost = disagreements(agreement(encoder, trial, self.cases), TOLERANCE[precision])
        return found, lost


def _take(
    asked: str,
    name: GraphName,
    mine: Mapping[Variant, Engine],
    sizes: Mapping[Variant, int],
    inputs: Sequence[Arrays],
    gate: _Gate,
    trials: list[Trial],
) -> Variant:
    """Take the fastest variant of one graph that passes, and write down what was tried."""
    ms = _timed(mine, inputs)
    speed = {variant: float(np.exp(np.mean(np.log(list(times.values()))))) for variant, times in ms.items()}
    taken: Variant | None = None
    reasons: list[str] = []
    for variant in sorted(mine, key=lambda variant: speed[variant]):
        size, gain = sizes[variant], speed["fp32"] / speed[variant]
        found: TaskQuality | None = None
        if variant == "fp32":
            verdict = f"{'not taken' if taken or asked != 'auto' else 'taken'}: what the others are compared with"
            taken = taken or ("fp32" if asked == "auto" else None)
        elif taken is not None:
            verdict = f"not taken: {taken} is faster"
        elif asked == "auto" and gain < _LEAST_GAIN:
            verdict = f"not taken: {gain:.2f} times as fast as fp32, {_LEAST_GAIN} is the least that pays"
        else:
            found, lost = gate.ask({name: mine[variant]}, precision_of(variant))
            reasons += lost
            verdict = f"not taken: {'; '.join(lost)}" if lost else f"taken: {gain:.2f} times as fast as fp32 and passes"
            taken = taken if lost else variant
        trials.append(Trial(variant=variant, bytes=size, ms=ms[variant], quality=found, verdict=verdict))
    if taken is None:
        raise _refusal(asked, name, reasons)
    return taken


def _refusal(asked: str, what: str, lost: Sequence[str]) -> ExportError:
    return ExportError(
        f"{asked} costs {what} too much: {'; '.join(lost)}. The bundle was not written; --precision auto takes what "
        "passes, graph by graph.",
        code="quality_failed",
    )


def loosest(variants: Iterable[Variant]) -> Precision:
    """Return the precision whose tolerance a bundle of these variants is held to."""
    precisions = {precision_of(variant) for variant in variants}
    return "int8" if "int8" in precisions else "fp16" if "fp16" in precisions else "fp32"


def _worst(
    before: TaskQuality, trials: Mapping[GraphName, Sequence[Trial]], taken: Mapping[GraphName, Variant]
) -> GraphName | None:
    """The graph whose variant cost most by itself."""

    def cost(name: GraphName) -> float:
        found = next((trial.quality for trial in trials[name] if trial.variant == taken[name] and trial.quality), None)
        pairs = [] if found is None else [(getattr(before, f), getattr(found, f)) for f in TaskQuality.model_fields]
        return max((was - now for was, now in pairs if was is not None and now is not None), default=0.0)

    changed = [name for name, variant in taken.items() if variant != "fp32"]
    return max(changed, key=cost, default=None)


def _timed(engines: Mapping[Variant, Engine], inputs: Sequence[Arrays]) -> dict[Variant, dict[str, float]]:
    """Least milliseconds of a call by batch size, the variants in turn so that other load hits all alike."""
    rows = max(inputs, key=lambda batch: len(next(iter(batch.values()))))
    found: dict[Variant, dict[str, float]] = {variant: {} for variant in engines}
    for batch in _BATCHES:
        some = {name: values[:batch] for name, values in rows.items()}
        for engine in engines.values():
            engine.run(some)
        times: dict[Variant, list[float]] = {variant: [] for variant in engines}
        started = time.perf_counter()
        for round_number in range(_ROUNDS):
            if round_number > 2 and time.perf_counter() - started > _LONGEST_S:
                break
            for variant, engine in engines.items():
                before = time.perf_counter()
                engine.run(some)
                times[variant].append(1000 * (time.perf_counter() - before))
        for variant, measured in times.items():
            found[variant][str(batch)] = round(min(measured), 3)
    return found


def _hardware() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return model
