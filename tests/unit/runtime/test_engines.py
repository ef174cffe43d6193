"""Engines run a real graph, and say what they run on; what cannot be had stops with its name."""

import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime.bundle import read_bundle
from runtime.encoder import Encoder
from runtime.engines import start_engine, start_engines
from runtime.engines.onnx import available_providers
from runtime.errors import EngineError
from tests.unit.vernier.colour_bundle import write_colour_bundle


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


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "colours"
    write_colour_bundle(out)
    return out


NO_CUDA = pytest.mark.skipif("cuda" in available_providers(), reason="this build of ONNX Runtime offers cuda")


def test_auto_takes_what_works(bundle: Path) -> None:
    started = start_engines(read_bundle(bundle))
    assert {engine.provider for engine in started.engines.values()} <= {"cpu", "cuda"}
    assert started.fallback is None


@NO_CUDA
@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "tensorrt-ep"])
def test_what_was_asked_for_and_cannot_be_had_stops_the_start(bundle: Path, provider: str) -> None:
    with pytest.raises(EngineError) as caught:
        Encoder.load(bundle, provider=provider)
    assert caught.value.code == "provider_unavailable"


@NO_CUDA
def test_an_allowed_fallback_is_loud(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encoder = Encoder.load(bundle, provider="cuda", allow_fallback=True)
    assert {engine.provider for engine in encoder.engines.values()} == {"cpu"}
    assert encoder.fallback is not None
    assert "cuda was asked for, cpu runs" in encoder.fallback
    assert "falling back to cpu" in caplog.text
    assert Encoder.load(bundle, provider="cpu", allow_fallback=True).fallback is None


def test_an_unknown_provider_is_refused(bundle: Path) -> None:
    with pytest.raises(EngineError, match="no provider 'abacus'"):
        start_engines(read_bundle(bundle), provider="abacus", allow_fallback=True)


def test_a_broken_graph_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph at all")
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        start_engine(tmp_path / "broken.onnx", provider="cpu")


def test_a_wrong_input_is_an_engine_error(doubling: Path) -> None:
    engine = start_engine(doubling, provider="cpu")
    with pytest.raises(EngineError, match="engine failed"):
        engine.run({"x": np.zeros((1, 7), np.float32)})


@NO_CUDA
def test_a_listed_provider_that_does_not_run_is_fallen_back_from(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A build that lists cuda on a machine without a card: the listing is the only thing pretended here."""
    monkeypatch.setattr("runtime.engines.select.available_providers", lambda: ["cpu", "cuda"])
    with caplog.at_level(logging.WARNING):
        started = start_engines(read_bundle(bundle))
    assert started.engines["text_encoder"].provider == "cpu"
    assert started.fallback is not None
    assert "cuda" in started.fallback
    assert "falling back to cpu" in caplog.text
    with pytest.raises(EngineError, match="cuda"):
        start_engines(read_bundle(bundle), provider="cuda")


def test_engines_of_another_machine_are_named_and_fallen_back_from(bundle: Path, tmp_path: Path) -> None:
    """A bundle that was carried here with the engines of another GPU."""
    carried = tmp_path / "carried"
    shutil.copytree(bundle, carried)
    folder = carried / "engines" / "9.0-trt11.4.0.106-fp16"
    folder.mkdir(parents=True)
    (folder / "engines.json").write_text('{"plans": {}}')
    started = start_engines(read_bundle(carried))
    assert started.fallback is not None
    assert "tensorrt" in started.fallback
    with pytest.raises(EngineError) as caught:
        start_engines(read_bundle(carried), provider="tensorrt")
    assert caught.value.code == "provider_unavailable"
