"""A checkpoint of our own training to a bundle."""

from pathlib import Path

import numpy as np
import torch

from export.assemble import HELD_OUT, Exportable, ExportReport, Progress, assemble, refuse_other_directory
from export.choose import ASKED
from export.graphs import plan_graphs
from export.parity import Tolerance
from export.task_quality import Validation
from runtime.bundle import ImageInput, Provenance
from runtime.bundle.digest import file_digest
from runtime.errors import ExportError
from training.checkpoint import Trained, load_trained
from training.data.source import PairSource


def build(
    checkpoint: Path,
    out: Path,
    *,
    precision: str = "fp32",
    data: Path | None = None,
    name: str | None = None,
    validation: Validation | None = None,
    tolerance: Tolerance | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Turn a checkpoint into a bundle, and refuse one that does not say what the checkpoint says.

    The same checkpoint in fp32 gives the same bytes, and so the same space, wherever it is exported.

    Args:
        checkpoint: a directory such as `WORKDIR/checkpoints/step-0000500`.
        out: the bundle's directory; an older bundle there is replaced.
        precision: `fp32`, `fp16`, `int8`, or `auto`: for each graph the fastest that passes the gate on task quality.
        data: the directory that the recipe's data lies in, for parity and calibration; drawn scenes need none.
        name: the bundle's name; that of its directory when None.
        validation: what task quality is asked of; pairs that training has not seen when None.
        tolerance: how far the graphs may be from the model.
        progress: called after each stage.

    Raises:
        ExportError: `precision_unsupported`, `parity_failed`, `quality_failed`, or the model cannot be expressed.
        BundleError: `out` holds something that is no bundle.
        TrainingError: the checkpoint cannot be read.
    """
    if precision not in ASKED:
        raise ExportError(
            f"there is no precision {precision!r} for export; choose one of {', '.join(ASKED)}.",
            code="precision_unsupported",
        )
    refuse_other_directory(out)
    trained = load_trained(checkpoint)
    source = trained.config.data.open(
        data, tokenizer=trained.tokenizer, batch_size=trained.config.batch_size, seed=trained.config.seed
    )
    samples = source.held_out(HELD_OUT)
    pixels = np.stack([source.image_transform.apply(sample.image) for sample in samples[:2]])
    model = exportable(trained, source, pixels=torch.from_numpy(pixels), name=name or out.name)
    return assemble(
        model,
        samples,
        out,
        precision=precision,
        data_name=source.name,
        validation=validation,
        tolerance=tolerance,
        progress=progress,
    )


def exportable(trained: Trained, source: PairSource, *, pixels: torch.Tensor, name: str) -> Exportable:
    """Describe a trained model for its bundle."""
    transform = source.image_transform
    rows, columns = trained.model.image_encoder.grid
    texts = source.text_transform
    return Exportable(
        name=name,
        plans=plan_graphs(
            trained.model, pixels=pixels, max_subwords=texts.max_subwords, vocab_size=texts.vocabulary_size
        ),
        tokenizer=trained.tokenizer,
        lexicon=source.lexicon(),
        image=ImageInput(
            size_px=transform.size_px,
            resize=transform.resize,
            mean=transform.mean,
            std=transform.std,
            resample=transform.resample,
            patch_rows=rows,
            patch_columns=columns,
        ),
        max_subwords=texts.max_subwords,
        dim=trained.model.config.dim,
        temperature=float(trained.model.temperature.detach()),
        match_cosine=trained.model.config.match_cosine,
        provenance=Provenance(
            recipe=trained.config.recipe,
            commit=trained.progress.commit,
            checkpoint=file_digest(trained.weights),
            data=source.name,
            steps=trained.progress.step,
            metrics=dict(trained.progress.metrics),
        ),
    )
