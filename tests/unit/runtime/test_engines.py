"""Engines run a real graph, and say what they run on; what cannot be had stops with its name."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.engines import start_engine
from runtime.engines.onnx import available_providers
from runtime.errors import EngineError


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A graph that doubles its input."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    doubled = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubling", [given], [doubled])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "doubling.onnx")
    return tmp_path / "doubling.onnx"


def test_a_graph_runs_on_the_cpu_at_any_batch_size(doubling: Path) -> None:
    engine = start_engine(doubling, provider="cpu", num_threads=1)
    assert engine.provider == "cpu"
    for batch in (1, 5):
        x = np.random.default_rng(batch).normal(size=(batch, 3)).astype(np.float32)
        np.testing.assert_array_equal(engine.run({"x": x})["y"], 2 * x)


def test_several_threads_may_call_at_once(doubling: Path) -> None:
    engine = start_engine(doubling, provider="cpu", num_threads=1)
    inputs = [np.full((2, 3), value, np.float32) for value in range(50)]
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda x: engine.run({"x": x})["y"], inputs))
    for x, y in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(y, 2 * x)


def test_auto_takes_what_works(doubling: Path) -> None:
    assert start_engine(doubling).provider in ("cpu", "cuda")


@pytest.mark.skipif("cuda" in available_providers(), reason="this build of ONNX Runtime offers cuda")
def test_a_provider_that_is_not_there_is_refused(doubling: Path) -> None:
    with pytest.raises(EngineError, match="offers cpu") as caught:
        start_engine(doubling, provider="cuda")
    assert caught.value.code == "provider_unavailable"


def test_an_unknown_provider_is_refused(doubling: Path) -> None:
    with pytest.raises(EngineError, match="no provider 'abacus'"):
        start_engine(doubling, provider="abacus")


def test_a_broken_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph at all")
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        start_engine(tmp_path / "broken.onnx", provider="cpu")


def test_a_wrong_input_is_an_engine_error(doubling: Path) -> None:
    engine = start_engine(doubling, provider="cpu")
    with pytest.raises(EngineError, match="engine failed"):
        engine.run({"x": np.zeros((1, 7), np.float32)})


def test_a_gpu_that_does_not_work_falls_back_loudly(
    doubling: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A build that lists cuda on a machine without a card: the listing is the only thing pretended here."""
    if "cuda" in available_providers():
        pytest.skip("this build of ONNX Runtime really offers cuda")
    monkeypatch.setattr("runtime.engines.select.available_providers", lambda: ["cpu", "cuda"])
    with caplog.at_level(logging.WARNING):
        assert start_engine(doubling).provider == "cpu"
    assert "falling back to the CPU" in caplog.text
    with pytest.raises(EngineError, match="cannot be loaded on cuda"):
        start_engine(doubling, provider="cuda")
