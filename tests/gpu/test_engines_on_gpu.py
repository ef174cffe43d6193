"""On a real GPU: what each provider says is what the CPU says."""

from pathlib import Path

import numpy as np
import pytest

from export.drawn import drawn_cases
from runtime.bundle import read_bundle
from runtime.encoder import Encoder
from runtime.engines.onnx import available_providers
from tests.gpu.half import write_half_bundle

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def half(demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gpu") / "half"
    write_half_bundle(demo_bundle, out)
    return out


def same_embeddings(a: Encoder, b: Encoder, *, cosine: float) -> None:
    cases = drawn_cases(40, size_px=a.manifest.image.size_px)
    for count in (1, 7, 40):
        some = cases[:count]
        pairs = [
            (
                one.embed_images([case.image for case in some]).embedding,
                one.embed_texts([c.caption for c in some]).embedding,
            )
            for one in (a, b)
        ]
        for x, y in zip(*pairs, strict=True):
            assert np.sum(x * y, axis=1).min() > cosine


@pytest.mark.parametrize("provider", ["cuda", "tensorrt-ep"])
def test_onnx_runtime_on_the_gpu(demo_bundle: Path, half: Path, provider: str) -> None:
    if provider not in available_providers():
        pytest.skip(f"this build of ONNX Runtime offers no {provider} (onnxruntime-gpu does)")
    reference = Encoder.load(demo_bundle, provider="cpu")
    same_embeddings(reference, Encoder.load(demo_bundle, provider=provider), cosine=0.9999)
    same_embeddings(reference, Encoder.load(half, provider=provider), cosine=0.999)


def test_tensorrt(demo_bundle: Path, half: Path) -> None:
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    from export.tensorrt import build_engines

    report = build_engines(half, batches=(1, 8))
    assert set(report.built) == set(read_bundle(half).manifest.graphs)
    same_embeddings(Encoder.load(demo_bundle, provider="cpu"), Encoder.load(half, provider="tensorrt"), cosine=0.999)
