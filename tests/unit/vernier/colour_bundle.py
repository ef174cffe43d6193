"""A real bundle without weights worth the name: averages of colours on one side, a table of names on the other."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

from runtime.bundle import Graph, ImageInput, Manifest, Provenance, TensorSpec, TextInput, write_bundle
from runtime.engines.fake import PALETTE, fake_encoder

SIZE_PX, GRID, DIM = 32, 4, 3


def write_colour_bundle(out: Path, *, turn: int = 0) -> Manifest:
    """Write the bundle: "red" finds what is red on average; no fusion graph.

    `turn` moves the axes of the space round: bundles of different turns agree on everything but their vectors, and a
    query of one finds the wrong colour among vectors of another.
    """
    parts = out.parent / f"{out.name}-parts"
    parts.mkdir(parents=True)
    fake_encoder().text_transform.tokenizer.save(str(parts / "tokenizer.json"))
    files = {"tokenizer.json": parts / "tokenizer.json"}
    graphs = {"image_encoder": _image_encoder(turn), "text_encoder": _text_encoder(turn)}
    described = {}
    for name, (graph, inputs, outputs) in graphs.items():
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        files[f"{name}.onnx"] = parts / f"{name}.onnx"
        save_model(model, str(files[f"{name}.onnx"]))
        described[name] = Graph(
            file=f"{name}.onnx", precision="fp32", opset=18, inputs=tuple(inputs), outputs=tuple(outputs)
        )
    return write_bundle(
        out,
        name="colours",
        files=files,
        image=ImageInput(size_px=SIZE_PX, patch_rows=GRID, patch_columns=GRID),
        text=TextInput(max_subwords=64),
        graphs=described,
        embedding_dim=DIM,
        temperature=0.1,
        provenance=Provenance(recipe="none", data="none"),
    )


def _image_encoder(turn: int) -> tuple[object, list[TensorSpec], list[TensorSpec]]:
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["pooled", "flat"], ["channels"]),
        helper.make_node("Transpose", ["channels"], ["unturned"], perm=[0, 2, 1]),
        helper.make_node("Gather", ["unturned", "axes"], ["patch_tokens"], axis=2),
        helper.make_node("LpNormalization", ["patch_tokens"], ["patch_embeddings"], axis=-1, p=2),
        helper.make_node("ReduceMean", ["patch_tokens", "axis"], ["mean"], keepdims=0),
        helper.make_node("LpNormalization", ["mean"], ["image_embedding"], axis=-1, p=2),
    ]
    constants = {"flat": np.array([0, 3, GRID * GRID]), "axis": np.array([1]), "axes": np.roll(np.arange(DIM), turn)}
    inputs = [TensorSpec(name="pixels", dtype="float32", shape=("batch", 3, SIZE_PX, SIZE_PX))]
    outputs = [
        TensorSpec(name="image_embedding", dtype="float32", shape=("batch", DIM)),
        TensorSpec(name="patch_tokens", dtype="float32", shape=("batch", GRID * GRID, DIM)),
        TensorSpec(name="patch_embeddings", dtype="float32", shape=("batch", GRID * GRID, DIM)),
    ]
    return _graph("image_encoder", nodes, inputs, outputs, constants), inputs, outputs


def _text_encoder(turn: int) -> tuple[object, list[TensorSpec], list[TensorSpec]]:
    vocabulary = fake_encoder().text_transform.tokenizer.get_vocab()
    table = np.full((len(vocabulary), DIM), 0.001, np.float32)
    for colour, rgb in PALETTE.items():
        table[vocabulary[colour]] = np.roll(np.asarray(rgb) / 127.5 - 1, turn)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["all"], axis=0),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Cast", ["column"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["all", "kept"], ["word_tokens"]),
        helper.make_node("ReduceSum", ["word_tokens", "axis"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["text_embedding"], axis=-1, p=2),
    ]
    constants = {"table": table, "last": np.array([-1]), "axis": np.array([1])}
    inputs = [TensorSpec(name=name, dtype="int64", shape=("batch", "subwords")) for name in ("ids", "mask")]
    outputs = [
        TensorSpec(name="text_embedding", dtype="float32", shape=("batch", DIM)),
        TensorSpec(name="word_tokens", dtype="float32", shape=("batch", "subwords", DIM)),
    ]
    return _graph("text_encoder", nodes, inputs, outputs, constants), inputs, outputs


def _graph(
    name: str,
    nodes: list[object],
    inputs: list[TensorSpec],
    outputs: list[TensorSpec],
    constants: dict[str, np.ndarray],
) -> object:
    def info(spec: TensorSpec) -> object:
        kind = TensorProto.INT64 if spec.dtype == "int64" else TensorProto.FLOAT
        return helper.make_tensor_value_info(spec.name, kind, list(spec.shape))

    stored = [numpy_helper.from_array(value, constant) for constant, value in constants.items()]
    return helper.make_graph(nodes, name, [info(spec) for spec in inputs], [info(spec) for spec in outputs], stored)
