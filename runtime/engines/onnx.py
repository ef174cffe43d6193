"""ONNX Runtime as an engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from runtime.engines.protocol import Arrays
from runtime.errors import EngineError

_PROVIDERS = {
    "tensorrt-ep": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


class OnnxEngine:
    """One ONNX Runtime session."""

    def __init__(self, file: Path, *, provider: str, num_threads: int) -> None:
        """Load a graph.

        Args:
            file: the ONNX file.
            provider: `cpu`, `cuda`, or `tensorrt-ep` (ONNX Runtime's own TensorRT provider, which builds its engines
                as it starts and keeps them in `engines/ep` beside the file where it may write there).
            num_threads: threads within one call; 0 leaves it to ONNX Runtime.

        Raises:
            EngineError: the file cannot be loaded, or ONNX Runtime put the graph on another provider than was asked.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # Idle threads that spin steal the cores from decoding and search.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            if provider != "cpu":
                ort.preload_dlls()  # CUDA's libraries from NVIDIA's wheels, where they are installed
            self._session = ort.InferenceSession(str(file), options, providers=[_named(provider, file)])
        except Exception as error:  # ONNX Runtime has no common base class for its errors
            raise EngineError(f"{file.name} cannot be loaded on {provider}: {error}") from error
        used = self._session.get_providers()[0]
        if used != _PROVIDERS[provider]:
            raise EngineError(
                f"{provider} was asked for but ONNX Runtime put {file.name} on {used}. Install the matching "
                "driver and onnxruntime-gpu, or ask for cpu.",
                code="provider_unavailable",
            )
        self._provider = provider
        self._outputs = [output.name for output in self._session.get_outputs()]

    @property
    def provider(self) -> str:
        """See `Engine.provider`."""
        return self._provider

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        wanted = self._outputs if outputs is None else list(outputs)
        try:
            return dict(zip(wanted, self._session.run(wanted, dict(inputs)), strict=True))
        except Exception as error:  # as above
            raise EngineError(f"the engine failed: {error}") from error


def available_providers() -> list[str]:
    """Return the providers that this build of ONNX Runtime lists; a listed one may still fail to start."""
    listed = set(ort.get_available_providers())
    return [name for name, full in _PROVIDERS.items() if full in listed]


def _named(provider: str, file: Path) -> str | tuple[str, dict[str, str]]:
    if provider != "tensorrt-ep":
        return _PROVIDERS[provider]
    cache = str(file.parent / "engines" / "ep")
    return _PROVIDERS[provider], {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
    }
