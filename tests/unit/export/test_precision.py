"""Precisions: what each variant may change, and that the gate asks the task before it takes one."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from export.assemble import ExportReport, graph_inputs
from export.canonical import canonicalise, save_canonical
from export.choose import choose
from export.parity import case_of
from export.task_quality import losses, quality, read_validation, validation_of
from export.variants import write_variant
from runtime.bundle.manifest import Decisions, TaskQuality
from runtime.encoder import Encoder
from runtime.engines import start_engine
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import DataError, ExportError
from training.data.source import Sample


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Convolution, layer norm, soft-max and a product: one of each kind that precisions treat differently."""
    rng = np.random.default_rng(0)
    weights = {
        "filters": rng.normal(size=(8, 3, 3, 3)) * 0.2,
        "scale": np.ones(64),
        "shift": np.zeros(64),
        "table": rng.normal(size=(64, 32)) * 0.1,
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "filters"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("Reshape", ["positive", "shape"], ["rows"]),
        helper.make_node("LayerNormalization", ["rows", "scale", "shift"], ["normed"], axis=-1),
        helper.make_node("MatMul", ["normed", "table"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["out"], axis=-1),
    ]
    given = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, 8, 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 8, 32])
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([0, 8, 64], np.int64), "shape"))
    graph = helper.make_graph(nodes, "network", [given], [out], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save_canonical(model, tmp_path / "network.onnx")
    return tmp_path / "network.onnx"


def pictures(count: int, seed: int) -> dict[str, np.ndarray]:
    return {"pixels": np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)}


def kinds(file: Path) -> set[str]:
    return {node.op_type for node in onnx.load(file).graph.node}


@pytest.mark.parametrize(("variant", "apart"), [("fp16", 2e-3), ("int8_dynamic", 2e-2), ("int8_static", 2e-2)])
def test_every_variant_says_nearly_the_same_and_the_same_twice(network: Path, tmp_path: Path, variant, apart: float):
    samples = [pictures(8, seed) for seed in range(4)]
    for name in ("a.onnx", "b.onnx"):
        write_variant(variant, network, tmp_path / name, samples=samples)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    inputs = pictures(5, 99)
    expected = start_engine(network).run(inputs)["out"]
    found = start_engine(tmp_path / "a.onnx").run(inputs)["out"]
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < apart


def test_sums_and_exponents_stay_wide_in_fp16(network: Path, tmp_path: Path):
    write_variant("fp16", network, tmp_path / "half.onnx")
    inferred = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "half.onnx")).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    for node in inferred.node:
        if node.op_type in ("LayerNormalization", "Softmax"):
            assert types[node.output[0]] == TensorProto.FLOAT
        if node.op_type in ("Conv", "MatMul"):
            assert types[node.output[0]] == TensorProto.FLOAT16


def test_what_each_int8_quantises(network: Path, tmp_path: Path):
    write_variant("int8_dynamic", network, tmp_path / "dynamic.onnx")
    assert "MatMulInteger" in kinds(tmp_path / "dynamic.onnx")
    assert "Conv" in kinds(tmp_path / "dynamic.onnx")
    write_variant("int8_static", network, tmp_path / "static.onnx", samples=[pictures(8, 0)])
    assert {"QuantizeLinear", "DequantizeLinear", "Conv", "MatMul"} <= kinds(tmp_path / "static.onnx")
    with pytest.raises(ExportError, match="calibration") as caught:
        write_variant("int8_static", network, tmp_path / "none.onnx")
    assert caught.value.code == "precision_unsupported"


def test_remarks_names_and_versions_are_not_in_the_canonical_form(network: Path):
    model = onnx.load(network)
    other = onnx.ModelProto()
    other.CopyFrom(model)
    renamed = {
        name: f"x{at}" for at, name in enumerate({n for node in model.graph.node for n in node.output} - {"out"})
    }
    renamed |= {tensor.name: f"w_{tensor.name}" for tensor in model.graph.initializer}
    for tensor in other.graph.initializer:
        tensor.name = renamed[tensor.name]
        tensor.doc_string = "seen in /home/me"
    for node in other.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        node.name, node.doc_string = "", "line 12"
        node.metadata_props.add(key="stack", value="/home/me/model.py")
    other.producer_name, other.producer_version = "somebody", "2.0"
    other.graph.initializer.extend([numpy_helper.from_array(np.zeros(3, np.float32), "never used")])
    shuffled = list(reversed(other.graph.initializer))
    del other.graph.initializer[:]
    other.graph.initializer.extend(shuffled)
    assert canonicalise(other) == canonicalise(model)
    onnx.checker.check_model(canonicalise(other))


def test_half_a_point_is_the_most_that_may_be_lost():
    before = TaskQuality(recall_at_1=0.9, word_auroc=0.8, acc_at_50=None)
    assert losses(before, TaskQuality(recall_at_1=0.8951, word_auroc=0.95)) == []
    (lost,) = losses(before, TaskQuality(recall_at_1=0.8949, word_auroc=0.8))
    assert lost.startswith("recall_at_1 fell from 0.9000")
    assert len(losses(before, TaskQuality(recall_at_1=float("nan")))) == 2


def quarter(colour: str) -> Image.Image:
    picture = Image.new("RGB", (64, 64), PALETTE["white"])
    picture.paste(PALETTE[colour], (0, 0, 32, 32))
    return picture


def coloured(count: int) -> list[Sample]:
    """A coloured quarter on white, so that there is something to find."""
    names = [name for name in PALETTE if name != "white"]
    return [
        Sample(
            image=quarter(names[at % len(names)]),
            caption=f"a {names[at % len(names)]} square",
            edited=f"a {names[(at + 3) % len(names)]} square",
            phrases=((f"{names[at % len(names)]} square", (0.0, 0.0, 0.5, 0.5)),),
        )
        for at in range(count)
    ]


def test_quality_by_hand(tmp_path: Path):
    """The fake model knows colours: it finds them, and a colour that is not there is a wrong word."""
    found = quality(fake_encoder(), validation_of(coloured(4), tmp_path, name="colours"))
    assert found.recall_at_1 == 1
    assert found.word_auroc is not None
    assert found.word_auroc > 0.95
    assert found.acc_at_50 == 1


def test_validation_files_are_told_apart_by_their_fields(tmp_path: Path):
    quarter("red").save(tmp_path / "a.png")
    rows = {
        "captions.jsonl": {"image": "a.png", "captions": ["a red square"]},
        "wrong.jsonl": {"image": "a.png", "caption": "red square", "negative_caption": "blue square", "type": "x",
                        "diff": [{"pos_words": [0, 1], "neg_words": [0, 1]}]},
        "boxes.jsonl": {"image": "a.png", "phrase": "red square", "boxes": [[0, 0, 0.5, 0.5]]},
    }  # fmt: skip
    for name, row in rows.items():
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    validation = read_validation([tmp_path / name for name in rows], images=None)
    assert quality(fake_encoder(), validation) == TaskQuality(recall_at_1=1, word_auroc=1, acc_at_50=1)
    (tmp_path / "other.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"other\.jsonl holds no validation rows"):
        read_validation([tmp_path / "other.jsonl"], images=None)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png"):
        quality(fake_encoder(), validation)


@pytest.fixture
def choosing(small_export: ExportReport, tmp_path: Path):
    encoder = Encoder.load(small_export.bundle, provider="cpu", num_threads=1)
    samples = coloured(16)
    files = {name: small_export.bundle / graph.file for name, graph in small_export.manifest.graphs.items()}
    arguments = {
        "inputs": graph_inputs(encoder, samples),
        "validation": validation_of(samples, tmp_path / "validation", name="colours"),
        "cases": [case_of(sample.image, sample.caption, sample.caption) for sample in samples],
        "tick": lambda: None,
    }
    return encoder, files, tmp_path, arguments


def _dynamic_int8_is_fastest(engines, _):
    return {v: {"1": 2.0 if v == "fp32" else 1.0 if v == "int8_dynamic" else 3.0} for v in engines}


def test_a_precision_by_name_that_costs_too_much_is_refused(choosing, monkeypatch: pytest.MonkeyPatch):
    encoder, files, folder, arguments = choosing
    worth = iter([0.9, *[0.5] * 20])
    monkeypatch.setattr("export.choose.quality", lambda *_: TaskQuality(recall_at_1=next(worth)))
    with pytest.raises(ExportError, match=r"int8 costs image_encoder too much: recall_at_1 fell from 0\.9") as caught:
        choose("int8", encoder, files, folder, **arguments)
    assert caught.value.code == "quality_failed"


def test_auto_goes_back_to_fp32_when_the_graphs_fail_together(choosing, monkeypatch: pytest.MonkeyPatch):
    """Alone each variant passes; all together they do not, until one is back in fp32."""
    encoder, files, folder, arguments = choosing
    monkeypatch.setattr("export.choose._LEAST_GAIN", 0.0)
    monkeypatch.setattr("export.choose._timed", _dynamic_int8_is_fastest)

    def worth(asked: Encoder, _: object) -> TaskQuality:
        changed = sum(asked.engines[name] is not encoder.engines[name] for name in files)
        return TaskQuality(recall_at_1=0.9 if changed < len(files) else 0.8)

    monkeypatch.setattr("export.choose.quality", worth)
    chosen = choose("auto", encoder, files, folder, **arguments)
    assert sorted(chosen.variants.values()) == ["fp32"] + ["int8_dynamic"] * (len(files) - 1)
    assert chosen.report.chosen == TaskQuality(recall_at_1=0.9)
    back = next(name for name, variant in chosen.variants.items() if variant == "fp32")
    assert "with the other graphs" in chosen.report.graphs[back].trials[-1].verdict
    assert all(choice.trials for choice in chosen.report.graphs.values())


def test_auto_passes_over_what_draws_other_boxes_though_no_question_is_about_boxes(
    choosing, monkeypatch: pytest.MonkeyPatch
):
    encoder, files, folder, arguments = choosing
    monkeypatch.setattr("export.choose._LEAST_GAIN", 0.0)
    monkeypatch.setattr("export.choose._timed", _dynamic_int8_is_fastest)
    monkeypatch.setattr("export.choose.quality", lambda *_: TaskQuality(recall_at_1=0.9))
    told = Decisions(samples=16, top_hit=1.0, flagged_word=1.0, best_box=0.59)
    monkeypatch.setattr("export.choose.agreement", lambda *_: told)
    chosen = choose("auto", encoder, files, folder, **arguments)
    assert set(chosen.variants.values()) == {"fp32"}
    tried = [trial.verdict for choice in chosen.report.graphs.values() for trial in choice.trials if trial.quality]
    assert tried
    assert all("only 0.590 of 16 samples have the same best box" in verdict for verdict in tried)
    with pytest.raises(ExportError, match=r"int8 costs image_encoder too much: only 0\.590 of 16 samples"):
        choose("int8", encoder, files, folder, **arguments)


def test_a_domain_under_two_names_is_named_once():
    """Joined graphs may bring it as `ai.onnx` and as nothing; onnxruntime's quantiser takes one."""
    node = helper.make_node("Relu", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx", 18)]
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets)
    assert [(opset.domain, opset.version) for opset in canonicalise(model).opset_import] == [("", 18)]


def test_weights_that_come_quantised_stay_as_they_are_in_fp16(tmp_path: Path):
    """Frozen backbones hold int8 weights behind DequantizeLinear, which knows no half precision at this opset."""
    weights = {"w": np.arange(-8, 8, dtype=np.int8).reshape(4, 4), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wide"]),
        helper.make_node("MatMul", ["x", "wide"], ["y"]),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "quantised", [given], [out], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save_canonical(model, tmp_path / "a.onnx")
    write_variant("fp16", tmp_path / "a.onnx", tmp_path / "half.onnx")
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    expected, found = (start_engine(tmp_path / name).run({"x": x})["y"] for name in ("a.onnx", "half.onnx"))
    np.testing.assert_allclose(found, expected, atol=5e-3)
