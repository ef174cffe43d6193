"""A frozen image backbone given as an ONNX file: what it is, and how to run it up to its grid of features.

Locked-image tuning (Zhai et al., 2022) leaves a pretrained image network as it is and learns everything else. The file
is named by the config and checked by its digest; it is never copied into a checkpoint. Training reads cached grids
(`training.data.grid_cache`); export joins the same graph in front of the trained layers, so both see the same numbers.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from jaxtyping import Float
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle.digest import file_digest
from runtime.errors import DataError
from runtime.preprocess.image import ImageTransform

PIXELS, GRID = "pixels", "grid"

_POOLING = ("GlobalAveragePool", "GlobalMaxPool")
_OPSET = 18  # that of the exported graphs, which this one is joined with


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """A convolutional network in an ONNX file, and the tensor in it that is its grid of features."""

    file: str
    sha256: str
    output: str  # the tensor [images, channels, rows, columns]
    channels: int
    rows: int
    columns: int
    size_px: int  # side of the square input
    is_channels_last: bool  # the input is [images, side, side, 3]
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def transform(self) -> ImageTransform:
        """How a picture becomes this network's input (channels first; the graph turns them round where needed)."""
        return ImageTransform(size_px=self.size_px, mean=self.mean, std=self.std)


def describe_backbone(
    file: Path,
    *,
    output: str | None = None,
    size_px: int = 224,
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
    std: tuple[float, float, float] = (0.5, 0.5, 0.5),
) -> BackboneConfig:
    """Look into an ONNX file and describe it.

    Args:
        file: a network with one picture input, channels first or last.
        output: the tensor that is the grid; what goes into the last global pooling when None.
        size_px: side of the input where the file leaves it open.
        mean: per channel, subtracted after scaling to 0..1.
        std: per channel, divided by afterwards.

    Raises:
        DataError: `backbone_invalid` when the file is missing, is no network over pictures, or has no such tensor.
    """
    model = _read(file)
    is_channels_last, side = _input_layout(model, file)
    output = output or _before_pooling(model, file)
    shape = _probe(model, output, side or size_px, is_channels_last, file)
    return BackboneConfig(
        file=str(file),
        sha256=file_digest(file),
        output=output,
        channels=shape[1],
        rows=shape[2],
        columns=shape[3],
        size_px=side or size_px,
        is_channels_last=is_channels_last,
        mean=mean,
        std=std,
    )


def grid_graph(config: BackboneConfig) -> onnx.ModelProto:
    """The network cut at its grid: `pixels [batch, 3, side, side]` to `grid [batch, patches, channels]`, row-major.

    Raises:
        DataError: `backbone_invalid` when the file is not there, or is not the one that was described.
    """
    file = Path(config.file)
    model = _read(file)
    if file_digest(file) != config.sha256:
        raise DataError(
            f"{file} is not the backbone that this model was trained on (its sha256 differs); put that file back.",
            code="backbone_invalid",
        )
    model = onnx.version_converter.convert_version(model, _OPSET)
    graph = _cut(model, config.output, config.is_channels_last)
    graph.input.append(
        helper.make_tensor_value_info(PIXELS, TensorProto.FLOAT, ["batch", 3, config.size_px, config.size_px])
    )
    patches = config.rows * config.columns
    graph.output.append(helper.make_tensor_value_info(GRID, TensorProto.FLOAT, ["batch", patches, config.channels]))
    result = helper.make_model(graph, opset_imports=_used_opsets(model, graph), ir_version=10)
    onnx.checker.check_model(result)
    return result


class Backbone:
    """A running backbone."""

    def __init__(self, config: BackboneConfig, *, num_threads: int = 0) -> None:
        """Start it; `num_threads` 0 leaves the number to ONNX Runtime. Raises as `grid_graph` does."""
        self.config = config
        options = ort.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            grid_graph(config).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def grids(
        self, pixels: Float[NDArray[np.float32], "images 3 side side"]
    ) -> Float[NDArray[np.float32], "images patches channels"]:
        """The grid of each picture, row by row."""
        grid: NDArray[np.float32] = self._session.run([GRID], {PIXELS: pixels})[0]
        return grid


@lru_cache(maxsize=2)
def running_backbone(config: BackboneConfig) -> Backbone:
    """The backbone of a config, started once per process."""
    return Backbone(config)


def _read(file: Path) -> onnx.ModelProto:
    if not file.is_file():
        raise DataError(f"there is no backbone at {file}; name an ONNX file.", code="backbone_invalid")
    try:
        return onnx.load(file)
    except Exception as error:  # protobuf's own errors
        raise DataError(f"{file} is no ONNX file ({error}).", code="backbone_invalid") from error


def _input_layout(model: onnx.ModelProto, file: Path) -> tuple[bool, int | None]:
    """Whether channels come last, and the side of the input where it is fixed."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    sizes = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if len(sizes) != 4 or 3 not in (sizes[1], sizes[3]):
        raise DataError(f"{file} has no single picture input [images, 3, side, side].", code="backbone_invalid")
    is_channels_last = sizes[1] != 3
    return is_channels_last, (sizes[1] if is_channels_last else sizes[2]) or None


def _before_pooling(model: onnx.ModelProto, file: Path) -> str:
    for node in reversed(model.graph.node):
        if node.op_type in _POOLING:
            return str(node.input[0])
    raise DataError(
        f"{file} has no global pooling, so name the tensor that is its grid of features.", code="backbone_invalid"
    )


def _probe(model: onnx.ModelProto, output: str, side: int, is_channels_last: bool, file: Path) -> tuple[int, ...]:
    """The shape of the grid for one grey picture."""
    if output not in {name for node in model.graph.node for name in node.output}:
        raise DataError(f"{file} has no tensor {output!r}.", code="backbone_invalid")
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.append(helper.make_empty_tensor_value_info(output))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    pixels = np.zeros((1, side, side, 3) if is_channels_last else (1, 3, side, side), np.float32)
    shape = tuple(session.run([output], {session.get_inputs()[0].name: pixels})[0].shape)
    if len(shape) != 4:
        raise DataError(
            f"tensor {output!r} of {file} has the shape {list(shape)}, not [images, channels, rows, columns].",
            code="backbone_invalid",
        )
    return shape


def _used_opsets(model: onnx.ModelProto, graph: onnx.GraphProto) -> list[onnx.OperatorSetIdProto]:
    domains = {node.domain for node in graph.node}
    return [opset for opset in model.opset_import if opset.domain in domains]


def _cut(model: onnx.ModelProto, output: str, is_channels_last: bool) -> onnx.GraphProto:
    """The nodes and weights that lead to the output, from `pixels` to `grid`, both still to be declared."""
    needed, nodes = {output}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    weight_names = {tensor.name for tensor in weights}
    source = next(entry.name for entry in model.graph.input if entry.name not in weight_names)
    turn = [0, 2, 3, 1] if is_channels_last else [0, 1, 2, 3]
    before = helper.make_node("Transpose", [PIXELS], [source], perm=turn)
    rows_in_line = numpy_helper.from_array(np.array([0, 0, -1], np.int64), "grid_shape")
    after = [
        helper.make_node("Reshape", [output, "grid_shape"], ["channels_first_grid"]),
        helper.make_node("Transpose", ["channels_first_grid"], [GRID], perm=[0, 2, 1]),
    ]
    return helper.make_graph([before, *reversed(nodes), *after], "backbone", [], [], [*weights, rows_in_line])
