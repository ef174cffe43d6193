"""Which engine runs a graph."""

import logging
from pathlib import Path

from runtime.engines.onnx import OnnxEngine, available_providers
from runtime.engines.protocol import Engine
from runtime.errors import EngineError

PROVIDERS = ("auto", "cpu", "cuda")

_log = logging.getLogger(__name__)


def start_engine(file: Path, *, provider: str = "auto", num_threads: int = 0) -> Engine:
    """Load a graph on the provider asked for; `auto` takes the GPU when it works and says loudly when it does not.

    Raises:
        EngineError: `provider_unavailable` when the provider asked for by name cannot be had, or the graph is broken.
    """
    if provider not in PROVIDERS:
        raise EngineError(
            f"there is no provider '{provider}'; choose one of {', '.join(PROVIDERS)}.", code="provider_unavailable"
        )
    available = available_providers()
    if provider == "auto":
        if "cuda" in available:
            try:
                return OnnxEngine(file, provider="cuda", num_threads=num_threads)
            except EngineError as error:
                _log.warning("falling back to the CPU for %s: %s", file.name, error)
        return OnnxEngine(file, provider="cpu", num_threads=num_threads)
    if provider not in available:
        raise EngineError(
            f"{provider} was asked for, but this build of ONNX Runtime offers {', '.join(available)}. "
            "Install the extra `gpu`, or ask for cpu.",
            code="provider_unavailable",
        )
    return OnnxEngine(file, provider=provider, num_threads=num_threads)
