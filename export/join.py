"""Joining a frozen graph in front of a trained one, so that a bundle's image encoder goes all the way from pixels."""

from pathlib import Path

import onnx

from runtime.errors import ExportError


def put_in_front(front: onnx.ModelProto, file: Path, *, through: str) -> None:
    """Replace a graph's file by the graph with another one in front of it.

    Args:
        front: gives the tensor `through`.
        file: takes the tensor `through`; overwritten.
        through: the tensor's name in both.

    Raises:
        ExportError: the two graphs do not fit together.
    """
    back = onnx.load(file)
    front = onnx.compose.add_prefix(front, "backbone/", rename_inputs=False, rename_outputs=False)
    front.ir_version = back.ir_version = max(front.ir_version, back.ir_version)
    try:
        joined = onnx.compose.merge_models(front, back, io_map=[(through, through)])
        onnx.checker.check_model(joined)
    except (ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(f"the backbone cannot be joined with {file.name}: {error}") from error
    onnx.save(joined, file)
