"""A frozen image backbone given as an ONNX file: what it is, and how to run it up to its grid of features.

Locked-image tuning (Zhai et al., 2022) leaves a pretrained image network as it is and learns everything else. The file
is named by the config and checked by its digest; it is never copied into a checkpoint. Training reads cached grids
(`training.data.grid_cache`); export joins the same graph in front of the trained layers, so both see the same numbers.

The last features of a network trained to name things have lost colours and textures. So the grid also holds the
features of an earlier, finer stage, averaged over each patch, and the mean and spread of the patch's colours in four
quarters.
"""

from collections.abc import Mapping, Sequence, Set
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
_COLOURS = 24  # red, green, blue: mean and spread in each quarter of a patch
_OPSET = 18  # that of the exported graphs, which this one is joined with


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """A convolutional network in an ONNX file, and the tensors in it that make its grid of features."""

    file: str
    sha256: str
    outputs: tuple[
        str, ...
    ]  # tensors [images, channels, rows, columns]; the first one's rows and columns are the grid's
    factors: tuple[int, ...]  # how many of a tensor's rows and columns make one of the grid
    channels: int  # of all of them together, and of the colours
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
    outputs: Sequence[str] | None = None,
    size_px: int = 224,
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
    std: tuple[float, float, float] = (0.5, 0.5, 0.5),
) -> BackboneConfig:
    """Look into an ONNX file and describe it.

    Args:
        file: a network with one picture input, channels first or last.
        outputs: the tensors that make the grid, coarsest first. When None: what goes into the last global pooling, and
            the widest tensor of twice its rows and columns (the last of those, where several are equally wide).
        size_px: side of the input where the file leaves it open.
        mean: per channel, subtracted after scaling to 0..1.
        std: per channel, divided by afterwards.

    Raises:
        DataError: `backbone_invalid` when the file is missing, is no network over pictures, or has no such tensors.
    """
    model = _read(file)
    is_channels_last, side = _input_layout(model, file)
    side = side or size_px
    shapes = _shapes(model, side, is_channels_last)
    chosen = tuple(outputs) if outputs else _chosen(model, shapes, file)
    for name in chosen:
        if len(shapes.get(name, ())) != 4:
            raise DataError(
                f"{file} has no tensor {name!r} of the shape [images, channels, rows, columns].",
                code="backbone_invalid",
            )
    _, _, rows, columns = shapes[chosen[0]]
    factors = tuple(shapes[name][2] // rows for name in chosen)
    fitting = (
        shapes[name][2:] == (factor * rows, factor * columns) for name, factor in zip(chosen, factors, strict=True)
    )
    if not all(fitting) or side % (2 * rows) or side % (2 * columns):
        raise DataError(
            f"{file}: {rows} x {columns} patches do not divide the finer tensors and the {side} pixels of the input; "
            "name other tensors.",
            code="backbone_invalid",
        )
    return BackboneConfig(
        file=str(file),
        sha256=file_digest(file),
        outputs=chosen,
        factors=factors,
        channels=sum(shapes[name][1] for name in chosen) + _COLOURS,
        rows=rows,
        columns=columns,
        size_px=side,
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
    graph = _cut(model, config)
    graph.input.append(
        helper.make_tensor_value_info(PIXELS, TensorProto.FLOAT, ["batch", 3, config.size_px, config.size_px])
    )
    patches = config.rows * config.columns
    graph.output.append(helper.make_tensor_value_info(GRID, TensorProto.FLOAT, ["batch", patches, config.channels]))
    result = helper.make_model(graph, opset_imports=_used_opsets(model, graph), ir_version=10)
    onnx.checker.check_model(result)
    return result


def two_view_graph(config: BackboneConfig) -> onnx.ModelProto:
    """The same from the picture and its mirror image, averaged patch by patch: two passes for one calmer grid.

    Raises as `grid_graph` does.
    """
    model = grid_graph(config)
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["views/pixels" if name == PIXELS else name for name in node.input]
        node.output[:] = ["views/grid" if name == GRID else name for name in node.output]
    patches = np.arange(config.rows * config.columns).reshape(config.rows, config.columns)
    constants = {
        "views/last": np.array([-1], np.int64),
        "views/before_first": np.array([np.iinfo(np.int64).min], np.int64),
        "views/across": np.array([3], np.int64),
        "views/turned": np.ascontiguousarray(patches[:, ::-1]).ravel(),
        "views/half": np.array(0.5, np.float32),
    }
    backwards = ["views/last", "views/before_first", "views/across", "views/last"]
    before = [
        helper.make_node("Slice", [PIXELS, *backwards], ["views/mirror_image"]),
        helper.make_node("Concat", [PIXELS, "views/mirror_image"], ["views/pixels"], axis=0),
    ]
    after = [
        helper.make_node("Split", ["views/grid"], ["views/as_it_is", "views/mirrored"], axis=0, num_outputs=2),
        helper.make_node("Gather", ["views/mirrored", "views/turned"], ["views/turned_back"], axis=1),
        helper.make_node("Add", ["views/as_it_is", "views/turned_back"], ["views/sum"]),
        helper.make_node("Mul", ["views/sum", "views/half"], [GRID]),
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model)
    return model


class Backbone:
    """A running backbone."""

    def __init__(self, config: BackboneConfig, *, two_views: bool = False, num_threads: int = 0) -> None:
        """Start it.

        Args:
            config: which one.
            two_views: whether a grid is the average over the picture and its mirror image.
            num_threads: 0 leaves the number to ONNX Runtime.

        Raises as `grid_graph` does.
        """
        self.config = config
        graph = two_view_graph(config) if two_views else grid_graph(config)
        options = ort.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def grids(
        self, pixels: Float[NDArray[np.float32], "images 3 side side"]
    ) -> Float[NDArray[np.float32], "images patches channels"]:
        """The grid of each picture, row by row."""
        grid: NDArray[np.float32] = self._session.run([GRID], {PIXELS: pixels})[0]
        return grid


@lru_cache(maxsize=2)
def running_backbone(config: BackboneConfig) -> Backbone:
    """The backbone of a config over two views, started once per process."""
    return Backbone(config, two_views=True)


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


def _chosen(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], file: Path) -> tuple[str, ...]:
    coarse = _before_pooling(model, file)
    if len(shapes.get(coarse, ())) != 4:
        return (coarse,)
    finer = [
        name
        for name in (output for node in _leading_to(model, {coarse}) for output in node.output)
        if len(shapes.get(name, ())) == 4 and shapes[name][2:] == tuple(2 * side for side in shapes[coarse][2:])
    ]
    widest = max((shapes[name][1] for name in finer), default=0)
    return (coarse, *[name for name in finer if shapes[name][1] == widest][-1:])


def _before_pooling(model: onnx.ModelProto, file: Path) -> str:
    for node in reversed(model.graph.node):
        if node.op_type in _POOLING:
            return str(node.input[0])
    raise DataError(
        f"{file} has no global pooling, so name the tensors that make its grid of features.", code="backbone_invalid"
    )


def _leading_to(model: onnx.ModelProto, outputs: Set[str]) -> list[onnx.NodeProto]:
    """The nodes that some tensors depend on, in order."""
    needed, nodes = set(outputs), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    return nodes[::-1]


def _shapes(model: onnx.ModelProto, side: int, is_channels_last: bool) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that depends on the picture, for one grey picture."""
    weights = {tensor.name for tensor in model.graph.initializer}
    source = next(entry.name for entry in model.graph.input if entry.name not in weights)
    moving = {source}
    for node in model.graph.node:
        if moving & set(node.input):
            moving |= set(node.output)
    names = sorted(moving - {source, ""})
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    del probed.graph.output[:]
    probed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    pixels = np.zeros((1, side, side, 3) if is_channels_last else (1, 3, side, side), np.float32)
    return {name: np.shape(value) for name, value in zip(names, session.run(names, {source: pixels}), strict=True)}


def _used_opsets(model: onnx.ModelProto, graph: onnx.GraphProto) -> list[onnx.OperatorSetIdProto]:
    domains = {node.domain for node in graph.node}
    return [opset for opset in model.opset_import if opset.domain in domains]


def _cut(model: onnx.ModelProto, config: BackboneConfig) -> onnx.GraphProto:
    """The nodes and weights from `pixels` to `grid`, both still to be declared."""
    nodes = _leading_to(model, set(config.outputs))
    needed = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    weight_names = {tensor.name for tensor in weights}
    source = next(entry.name for entry in model.graph.input if entry.name not in weight_names)
    turn = [0, 2, 3, 1] if config.is_channels_last else [0, 1, 2, 3]
    parts = [f"grid/{number}" for number in range(len(config.outputs))]
    shape = numpy_helper.from_array(np.array([0, 0, -1], np.int64), "grid/shape")
    pooled = [
        _mean(name, part, factor, factor)
        for name, part, factor in zip(config.outputs, parts, config.factors, strict=True)
    ]
    after = [
        *pooled,
        *_colours(config),
        helper.make_node("Concat", [*parts, "grid/colour_mean", "grid/colour_spread"], ["grid/all"], axis=1),
        helper.make_node("Reshape", ["grid/all", "grid/shape"], ["grid/channels_first"]),
        helper.make_node("Transpose", ["grid/channels_first"], [GRID], perm=[0, 2, 1]),
    ]
    first = helper.make_node("Transpose", [PIXELS], [source], perm=turn)
    return helper.make_graph([first, *nodes, *after], "backbone", [], [], [*weights, shape])


def _colours(config: BackboneConfig) -> list[onnx.NodeProto]:
    """Mean and standard deviation of red, green and blue in the four quarters of each patch."""
    quarter = config.size_px // (2 * config.rows), config.size_px // (2 * config.columns)
    return [
        _mean(PIXELS, "colour/mean", *quarter),
        helper.make_node("Mul", [PIXELS, PIXELS], ["colour/squares"]),
        _mean("colour/squares", "colour/mean_square", *quarter),
        helper.make_node("Mul", ["colour/mean", "colour/mean"], ["colour/square_mean"]),
        helper.make_node("Sub", ["colour/mean_square", "colour/square_mean"], ["colour/variance"]),
        helper.make_node("Relu", ["colour/variance"], ["colour/not_negative"]),
        helper.make_node("Sqrt", ["colour/not_negative"], ["colour/spread"]),
        helper.make_node("SpaceToDepth", ["colour/mean"], ["grid/colour_mean"], blocksize=2),
        helper.make_node("SpaceToDepth", ["colour/spread"], ["grid/colour_spread"], blocksize=2),
    ]


def _mean(source: str, out: str, rows: int, columns: int) -> onnx.NodeProto:
    return helper.make_node("AveragePool", [source], [out], kernel_shape=[rows, columns], strides=[rows, columns])
