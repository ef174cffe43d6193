"""From graphs that torch holds to a bundle on disk: files, parity, precision, calibration, manifest.

Checkpoints of our own and public ones both end here, so both pass the same gates.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tokenizers import Tokenizer

from export.calibrate import calibrate
from export.choose import Chosen, choose, loosest, precision_of
from export.drawn import drawn_cases
from export.graphs import GraphPlan, TorchEngine
from export.onnx_file import OPSET, write_onnx
from export.parity import (
    PASSED_ON,
    TOLERANCE,
    Case,
    ParityReport,
    Tolerance,
    agreement,
    case_of,
    check,
    measure,
    samples_of,
)
from export.remember import RememberingEngine
from export.task_quality import Validation, validation_of, with_edits
from export.variants import Variant
from runtime.bundle import Calibration, Graph, ImageInput, Manifest, Provenance, TextInput, write_bundle
from runtime.bundle.manifest import GraphName, PrecisionReport
from runtime.bundle.writer import MANIFEST
from runtime.encoder import Encoder
from runtime.engines import Engine
from runtime.engines.protocol import Arrays
from runtime.errors import BundleError
from training.data.source import Sample

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

PARITY_SAMPLES = 120
LEAST_PARITY_SAMPLES = 100
QUANTISING_SAMPLES = 64
LARGE_BYTES = 200_000_000  # of graphs: what a CPU runs slowly is compared and calibrated on fewer pairs
VALIDATION_SAMPLES = 480
CALIBRATION_SAMPLES = 400
HELD_OUT = PARITY_SAMPLES + QUANTISING_SAMPLES + VALIDATION_SAMPLES

_QUANTISING_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written and how faithful it is."""

    bundle: Path
    manifest: Manifest
    parity: ParityReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Exportable:
    """A model and all that its bundle will say of it.

    Attributes:
        name: the bundle's.
        plans: its graphs.
        tokenizer: of its texts.
        lexicon: frequent words, candidates for suggestions.
        image: what its image encoder takes.
        max_subwords: the longest text.
        dim: of the joint space.
        temperature: what cosines were divided by in training.
        provenance: where its weights come from.
        calibration: what is known of it beforehand; None when it is to be fitted on the samples.
        match_cosine: how much of a pair's cosine is added to the fusion graph's logit.
    """

    name: str
    plans: Sequence[GraphPlan]
    tokenizer: Tokenizer
    lexicon: Sequence[str]
    image: ImageInput
    max_subwords: int
    dim: int
    temperature: float
    provenance: Provenance
    calibration: Calibration | None = None
    match_cosine: float = 0.0


def assemble(
    model: Exportable,
    samples: Sequence[Sample],
    out: Path,
    *,
    precision: str,
    data_name: str,
    validation: Validation | None = None,
    tolerance: Tolerance | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a model's bundle, and refuse one that does not say what the model says.

    Args:
        model: what is exported.
        samples: pairs that training has not seen; the first are compared (with drawn scenes where they are fewer than
            `LEAST_PARITY_SAMPLES`), the next quantise, the rest validate (and the first, where the rest is few).
        out: the bundle's directory.
        precision: one of `export.choose.ASKED`.
        data_name: what the samples are, in words.
        validation: what quality is asked of; the samples' own questions when None.
        tolerance: how far the graphs may be from the model; that of their precision when None.
        progress: called after each stage.

    Raises:
        ExportError: `parity_failed`, `quality_failed`, `precision_unsupported`, or the model cannot be expressed.
    """
    samples = with_edits(samples, seed=0)
    tick = _ticker(progress, len(model.plans) * (1 if precision == "fp32" else 2) + 4)
    with tempfile.TemporaryDirectory(prefix="vernier-export-") as folder:
        work = Path(folder)
        files: dict[GraphName, Path] = {}
        for plan in model.plans:
            files[plan.name] = work / f"{plan.name}.onnx"
            write_onnx(plan, files[plan.name], max_subwords=model.max_subwords)
            tick()
        plain: dict[GraphName, Variant] = {plan.name: "fp32" for plan in model.plans}
        _write(work / "fp32", model, files, plain, Calibration(), name=model.name)
        plain_encoder = Encoder.load(work / "fp32", provider="cpu")
        is_large = sum(file.stat().st_size for file in files.values()) > LARGE_BYTES
        num_compared = LEAST_PARITY_SAMPLES if is_large else PARITY_SAMPLES
        cases = [_case(sample) for sample in samples[:num_compared]]
        cases += drawn_cases(max(0, LEAST_PARITY_SAMPLES - len(cases)), size_px=model.image.size_px)
        torch_engines: dict[str, Engine] = {plan.name: TorchEngine(plan) for plan in model.plans}
        encoder = _remembering(plain_encoder, plain_encoder.engines)
        reference = _remembering(plain_encoder, torch_engines)
        parity = _compare(reference, encoder, cases)
        check(parity, tolerance or TOLERANCE["fp32"])
        tick()
        chosen: Chosen | None = None
        if precision != "fp32":
            quantising = samples[PARITY_SAMPLES : PARITY_SAMPLES + QUANTISING_SAMPLES] or samples
            # where few are held out, those that were compared are asked too: nothing was fitted on them
            rest = [*samples[PARITY_SAMPLES + QUANTISING_SAMPLES :], *samples[:PARITY_SAMPLES]]
            asked = validation or validation_of(rest[:VALIDATION_SAMPLES], work / "validation", name=data_name)
            chosen = choose(
                precision,
                plain_encoder,
                files,
                work,
                inputs=graph_inputs(plain_encoder, quantising),
                validation=asked,
                cases=cases,
                tick=tick,
            )
            _write(work / "chosen", model, chosen.files, chosen.variants, Calibration(), name=model.name)
            loaded = Encoder.load(work / "chosen", provider="cpu")
            encoder = _remembering(loaded, loaded.engines)
            parity = _compare(reference, encoder, cases)
            check(parity, tolerance or TOLERANCE[loosest(chosen.variants.values())])
        tick()
        calibration = model.calibration or calibrate(encoder, samples[: CALIBRATION_SAMPLES // (10 if is_large else 1)])
        tick()
        manifest = _write(
            out,
            model,
            chosen.files if chosen else files,
            chosen.variants if chosen else plain,
            calibration,
            name=model.name,
            parity=parity,
            report=chosen.report if chosen else None,
        )
        tick()
    return ExportReport(bundle=out, manifest=manifest, parity=parity)


def graph_inputs(encoder: Encoder, samples: Sequence[Sample]) -> dict[GraphName, list[Arrays]]:
    """Real inputs of each graph, in batches, each graph's from the graphs before it."""
    cases = [_case(sample) for sample in samples]
    found: dict[GraphName, list[Arrays]] = {name: [] for name in encoder.manifest.graphs}
    for at in range(0, len(cases), _QUANTISING_BATCH):
        some = samples_of(encoder, cases[at : at + _QUANTISING_BATCH])
        values: dict[str, Arrays] = {}
        known: dict[str, NDArray[Any]] = {"pixels": some.pixels, "ids": some.ids, "mask": some.mask}
        for name, graph in encoder.manifest.graphs.items():
            values[name] = {spec.name: known[spec.name] for spec in graph.inputs}
            found[name].append(values[name])
            passed_on = [output for output in PASSED_ON if graph.has_output(output)]
            if passed_on:
                known |= encoder.engines[name].run(values[name], passed_on)
    return found


def refuse_other_directory(out: Path) -> None:
    """Say so now what the writer would say after minutes of work.

    Raises:
        BundleError: the directory holds something that is no bundle.
    """
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise BundleError(f"{out} is not empty and holds no bundle; name another directory.")


def _case(sample: Sample) -> Case:
    phrase = sample.phrases[0][0] if sample.phrases else None
    return case_of(sample.image, sample.caption, sample.edited or sample.caption, phrase)


def _remembering(encoder: Encoder, engines: Mapping[str, Engine]) -> Encoder:
    """The same bundle on these engines, none of which encodes a picture twice."""
    remembering = {**engines, "image_encoder": RememberingEngine(engines["image_encoder"])}
    return Encoder(encoder.manifest, encoder.text_transform, remembering, lexicon=encoder.lexicon)


def _compare(reference: Encoder, encoder: Encoder, cases: Sequence[Case]) -> ParityReport:
    graphs = encoder.manifest.graphs
    report = measure(graphs, reference.engines, encoder.engines, samples_of(encoder, cases))
    decisions = agreement(reference, encoder, cases).model_copy(
        update={"regions": report.regions, "codes": report.codes}
    )
    return replace(report, decisions=decisions)


def _write(
    out: Path,
    model: Exportable,
    files: Mapping[GraphName, Path],
    variants: Mapping[GraphName, Variant],
    calibration: Calibration,
    *,
    name: str,
    parity: ParityReport | None = None,
    report: PrecisionReport | None = None,
) -> Manifest:
    with tempfile.TemporaryDirectory(prefix="vernier-export-") as folder:
        tokenizer, lexicon = Path(folder) / "tokenizer.json", Path(folder) / "lexicon.json"
        model.tokenizer.save(str(tokenizer))
        lexicon.write_text(json.dumps(list(model.lexicon), ensure_ascii=False) + "\n", encoding="utf-8")
        return write_bundle(
            out,
            name=name,
            files={
                **{f"{graph}.onnx": file for graph, file in files.items()},
                tokenizer.name: tokenizer,
                lexicon.name: lexicon,
            },
            image=model.image,
            text=TextInput(tokenizer=tokenizer.name, max_subwords=model.max_subwords, lexicon=lexicon.name),
            graphs={
                plan.name: Graph(
                    file=f"{plan.name}.onnx",
                    precision=precision_of(variants[plan.name]),
                    opset=OPSET,
                    inputs=plan.inputs(),
                    outputs=plan.outputs,
                )
                for plan in model.plans
            },
            embedding_dim=model.dim,
            temperature=model.temperature,
            match_cosine=model.match_cosine,
            provenance=model.provenance,
            calibration=calibration,
            parity=parity.outputs if parity else None,
            decisions=parity.decisions if parity else None,
            precision=report,
        )


def _ticker(progress: Progress | None, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    return tick
