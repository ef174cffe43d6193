"""Joining a frozen graph in front of a trained one, so that a bundle's image encoder goes all the way from pixels."""

import onnx

from runtime.errors import ExportError


def put_in_front(front: onnx.ModelProto, back: onnx.ModelProto, *, through: str) -> onnx.ModelProto:
    """A graph with another one in front of it.

    Args:
        front: gives the tensor `through`.
        back: takes the tensor `through`.
        through: the tensor's name in both.

    Raises:
        ExportError: the two graphs do not fit together.
    """
    front = onnx.compose.add_prefix(front, "backbone/", rename_inputs=False, rename_outputs=False)
    front.ir_version = back.ir_version = max(front.ir_version, back.ir_version)
    try:
        joined = onnx.compose.merge_models(front, back, io_map=[(through, through)])
        onnx.checker.check_model(joined)
    except (ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(f"the backbone cannot be joined with the graph that takes {through}: {error}") from error
    return joined
