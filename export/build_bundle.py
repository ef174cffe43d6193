"""The whole way from a checkpoint to a bundle: graphs, parity, calibration, manifest."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from export.calibrate import calibrate
from export.graphs import GraphPlan, plan_graphs
from export.onnx_file import OPSET, write_onnx
from export.parity import ParityReport, Samples, Tolerance, check, measure
from runtime.bundle import Calibration, Graph, ImageInput, Manifest, Provenance, TextInput, write_bundle
from runtime.bundle.digest import file_digest
from runtime.bundle.manifest import GraphName
from runtime.bundle.writer import MANIFEST
from runtime.encoder import Encoder
from runtime.errors import BundleError, ExportError
from training.checkpoint import Trained, load_trained
from training.data.source import PairSource, Sample

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

PARITY_SAMPLES = 120
CALIBRATION_SAMPLES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written and how faithful it is."""

    bundle: Path
    manifest: Manifest
    parity: ParityReport


def build(
    checkpoint: Path,
    out: Path,
    *,
    precision: str = "fp32",
    data: Path | None = None,
    name: str | None = None,
    tolerance: Tolerance | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Turn a checkpoint into a bundle, and refuse one that does not say what the checkpoint says.

    Args:
        checkpoint: a directory such as `WORKDIR/checkpoints/step-0000500`.
        out: the bundle's directory; an older bundle there is replaced.
        precision: `fp32`.
        data: the directory that the recipe's data lies in, for parity and calibration; drawn scenes need none.
        name: the bundle's name; that of its directory when None.
        tolerance: how far the graphs may be from the model.
        progress: called after each stage.

    Raises:
        ExportError: `precision_unsupported`, `parity_failed`, or the model cannot be expressed.
        BundleError: `out` holds something that is no bundle.
        TrainingError: the checkpoint cannot be read.
    """
    if precision != "fp32":
        raise ExportError(
            f"precision {precision!r} is not available for export; use fp32.", code="precision_unsupported"
        )
    _refuse_other_directory(out)
    trained = load_trained(checkpoint)
    source = trained.config.data.open(
        data, tokenizer=trained.tokenizer, batch_size=trained.config.batch_size, seed=trained.config.seed
    )
    held_out = source.held_out(CALIBRATION_SAMPLES)
    samples = as_samples(source, held_out[:PARITY_SAMPLES])
    plans = plan_graphs(
        trained.model,
        pixels=torch.from_numpy(samples.pixels[:2]),
        max_subwords=source.text_transform.max_subwords,
        vocab_size=source.text_transform.vocabulary_size,
    )
    name = name or out.name
    tick = _ticker(progress, len(plans) + 3)
    with tempfile.TemporaryDirectory(prefix="vernier-export-") as folder:
        work = Path(folder)
        files: dict[GraphName, Path] = {}
        for plan in plans:
            files[plan.name] = work / f"{plan.name}.onnx"
            write_onnx(plan, files[plan.name], max_subwords=source.text_transform.max_subwords)
            tick()
        parity = measure(plans, files, samples)
        check(parity, tolerance or Tolerance())
        tick()
        _write(work / "uncalibrated", trained, source, plans, files, parity, Calibration(), name=name)
        calibration = calibrate(Encoder.load(work / "uncalibrated", provider="cpu"), held_out)
        tick()
        manifest = _write(out, trained, source, plans, files, parity, calibration, name=name)
        tick()
    return ExportReport(bundle=out, manifest=manifest, parity=parity)


def as_samples(source: PairSource, held_out: Sequence[Sample]) -> Samples:
    """The encoders' inputs for some pairs."""
    encoded = source.text_transform.encode([sample.caption for sample in held_out])
    pixels = np.stack([source.image_transform.apply(sample.image) for sample in held_out])
    return Samples(pixels=pixels, ids=encoded.ids, mask=encoded.mask)


def _write(
    out: Path,
    trained: Trained,
    source: PairSource,
    plans: Sequence[GraphPlan],
    files: Mapping[GraphName, Path],
    parity: ParityReport,
    calibration: Calibration,
    *,
    name: str,
) -> Manifest:
    transform = source.image_transform
    rows, columns = trained.model.image_encoder.grid
    with tempfile.TemporaryDirectory(prefix="vernier-export-") as folder:
        tokenizer, lexicon = Path(folder) / "tokenizer.json", Path(folder) / "lexicon.json"
        trained.tokenizer.save(str(tokenizer))
        lexicon.write_text(json.dumps(list(source.lexicon())) + "\n")
        return write_bundle(
            out,
            name=name,
            files={file.name: file for file in (*files.values(), tokenizer, lexicon)},
            image=ImageInput(
                size_px=transform.size_px,
                resize=transform.resize,
                mean=transform.mean,
                std=transform.std,
                patch_rows=rows,
                patch_columns=columns,
            ),
            text=TextInput(
                tokenizer=tokenizer.name, max_subwords=source.text_transform.max_subwords, lexicon=lexicon.name
            ),
            graphs={
                plan.name: Graph(
                    file=files[plan.name].name,
                    precision="fp32",
                    opset=OPSET,
                    inputs=plan.inputs(),
                    outputs=plan.outputs,
                )
                for plan in plans
            },
            embedding_dim=trained.model.config.dim,
            temperature=float(trained.model.temperature.detach()),
            provenance=Provenance(
                recipe=trained.config.recipe,
                commit=trained.progress.commit,
                checkpoint=file_digest(trained.weights),
                data=source.name,
                steps=trained.progress.step,
                metrics=dict(trained.progress.metrics),
            ),
            calibration=calibration,
            parity=parity.outputs,
            top_hit_agreement=parity.top_hit_agreement,
        )


def _refuse_other_directory(out: Path) -> None:
    """Say so now what the writer would say after minutes of work."""
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise BundleError(f"{out} is not empty and holds no bundle; name another directory.")


def _ticker(progress: Progress | None, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)

    return tick
