"""Parity: do the exported graphs say what the model says, on real samples?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.graphs import SUBWORDS, GraphPlan
from runtime.bundle.manifest import GraphName, OutputParity
from runtime.engines import Engine, start_engine
from runtime.errors import ExportError

Arrays = Mapping[str, NDArray[Any]]

_BATCHES = (1, 3, 8)
"""Batch sizes taken in turn, so that the open dimension is really tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far an exported graph may be from the model.

    Attributes:
        largest_difference: of any number of any output, relative to the output's own root mean square or 1, whichever
            is larger.
        smallest_cosine: between the two versions of a sample's output.
        top_hit_agreement: share of texts whose nearest picture is the same.
    """

    largest_difference: float = 1e-3
    smallest_cosine: float = 0.9999
    top_hit_agreement: float = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Real inputs: row i of everything belongs to pair i."""

    pixels: NDArray[np.float32]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """The comparison.

    Attributes:
        outputs: `graph.output` to its numbers.
        scale: `graph.output` to the root mean square of PyTorch's numbers.
        top_hit_agreement: share of texts whose nearest picture is the same.
    """

    outputs: Mapping[str, OutputParity]
    scale: Mapping[str, float]
    top_hit_agreement: float


def measure(plans: Sequence[GraphPlan], files: Mapping[GraphName, Path], samples: Samples) -> ParityReport:
    """Run the model and the files on the same samples.

    Each graph of the files gets its inputs from the graphs of the files before it, as in serving, and likewise the
    model, so differences may add up. Padding positions are not compared.
    """
    model_says: dict[str, NDArray[Any]] = {}
    files_say: dict[str, NDArray[Any]] = {}
    inputs: dict[str, NDArray[Any]] = {"pixels": samples.pixels, "ids": samples.ids, "mask": samples.mask}
    outputs: dict[str, OutputParity] = {}
    scale: dict[str, float] = {}
    for plan in plans:
        model_says |= _run_module(plan, inputs | model_says)
        files_say |= _run_engine(plan, start_engine(files[plan.name], provider="cpu"), inputs | files_say)
        for spec in plan.outputs:
            rows = _rows(model_says[spec.name], spec.shape, samples), _rows(files_say[spec.name], spec.shape, samples)
            key = f"{plan.name}.{spec.name}"
            outputs[key] = _compare(*rows)
            scale[key] = float(np.sqrt(np.mean(np.concatenate(rows[0]) ** 2)))
    return ParityReport(
        outputs=outputs, scale=scale, top_hit_agreement=float(np.mean(_top(model_says) == _top(files_say)))
    )


def check(report: ParityReport, tolerance: Tolerance) -> None:
    """Refuse graphs that are too far from the model.

    Raises:
        ExportError: `parity_failed`, naming the output and the numbers.
    """
    for key, parity in report.outputs.items():
        allowed = tolerance.largest_difference * max(1.0, report.scale[key])
        # written so that a NaN fails
        if not (parity.largest_difference <= allowed and parity.smallest_cosine >= tolerance.smallest_cosine):
            raise ExportError(
                f"parity failed for {key}: largest difference {parity.largest_difference:.3g} (allowed {allowed:.3g}), "
                f"smallest cosine {parity.smallest_cosine:.6f} (needed {tolerance.smallest_cosine}) over "
                f"{parity.samples} samples. The bundle was not written.",
                code="parity_failed",
            )
    if not report.top_hit_agreement >= tolerance.top_hit_agreement:
        raise ExportError(
            f"parity failed: only {report.top_hit_agreement:.3f} of the texts have the same top hit as in PyTorch "
            f"(needed {tolerance.top_hit_agreement}). The bundle was not written.",
            code="parity_failed",
        )


def _batches(count: int) -> list[slice]:
    found: list[slice] = []
    at = 0
    while at < count:
        size = _BATCHES[len(found) % len(_BATCHES)]
        found.append(slice(at, min(at + size, count)))
        at += size
    return found


@torch.no_grad()
def _run_module(plan: GraphPlan, values: Arrays) -> dict[str, NDArray[Any]]:
    parts = [
        plan.module(*(torch.from_numpy(values[name][rows]) for name in plan.example))
        for rows in _batches(len(values["ids"]))
    ]
    return {spec.name: np.concatenate([part[at].numpy() for part in parts]) for at, spec in enumerate(plan.outputs)}


def _run_engine(plan: GraphPlan, engine: Engine, values: Arrays) -> dict[str, NDArray[Any]]:
    parts = [engine.run({name: values[name][rows] for name in plan.example}) for rows in _batches(len(values["ids"]))]
    return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in plan.outputs}


def _rows(values: NDArray[Any], shape: tuple[int | str, ...], samples: Samples) -> list[NDArray[np.float64]]:
    """One flat vector per sample; of outputs with a subword dimension only what is no padding."""
    has_subwords = len(shape) > 1 and shape[1] == SUBWORDS
    return [
        np.asarray(row[samples.mask[at].astype(bool)] if has_subwords else row, np.float64).ravel()
        for at, row in enumerate(values)
    ]


def _compare(expected: Sequence[NDArray[np.float64]], found: Sequence[NDArray[np.float64]]) -> OutputParity:
    pairs = list(zip(expected, found, strict=True))
    if expected[0].size == 1:  # one number per sample: compare all of them as one vector
        cosines = [_cosine(np.concatenate(expected), np.concatenate(found))]
    else:
        cosines = [_cosine(a, b) for a, b in pairs]
    return OutputParity(
        samples=len(pairs),
        largest_difference=float(max(np.abs(a - b).max() for a, b in pairs)),
        smallest_cosine=float(np.min(cosines)),
    )


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a @ b / max(1e-30, float(np.linalg.norm(a) * np.linalg.norm(b))))


def _top(values: Arrays) -> NDArray[np.intp]:
    scores: NDArray[np.float32] = values["text_embedding"] @ values["image_embedding"].T
    top: NDArray[np.intp] = np.argmax(scores, axis=1)
    return top
