"""One graph to one ONNX file."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.export import Dim

from export.canonical import save_canonical
from export.gradient import unrolled
from export.graphs import BATCH, SUBWORDS, GraphPlan
from export.join import put_in_front
from runtime.errors import ExportError

OPSET = 18


def write_onnx(plan: GraphPlan, file: Path, *, max_subwords: int) -> None:
    """Trace a graph and write it, with the batch and the text's length left open.

    Raises:
        ExportError: the model holds something that the exporter cannot express.
    """
    dims = {
        name: Dim(name, min=2, max=max_subwords) if name == SUBWORDS else Dim(name)
        for varying in plan.varying.values()
        for name in varying.values()
    }
    shapes = {name: {at: dims[dim] for at, dim in varying.items()} for name, varying in plan.varying.items()}
    example = dict(plan.example)
    if plan.front is not None:
        example, shapes = {plan.front.through: plan.front.example}, {plan.front.through: {0: dims[BATCH]}}
    try:
        with _quiet():
            module = plan.module.eval()
            if plan.takes_gradient:
                module = unrolled(module, tuple(example.values()))
            exported = torch.onnx.export(
                module,
                tuple(example.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(example),
                output_names=[output.name for output in plan.outputs],
                dynamic_shapes=tuple(shapes[name] for name in example),
                verbose=False,
            )
    except Exception as error:  # the exporter raises almost anything
        raise ExportError(f"the {plan.name} graph cannot be expressed in ONNX: {error}") from error
    assert exported is not None
    model = exported.model_proto
    if plan.front is not None:
        model = put_in_front(plan.front.graph, model, through=plan.front.through)
    save_canonical(model, file)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's remarks on its own internals are nobody's business."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
