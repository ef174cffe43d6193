"""Which engines run the graphs of a bundle: what was asked for, proved by running, or a loud fallback."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle.reader import Bundle
from runtime.engines.onnx import OnnxEngine, available_providers
from runtime.engines.plans import has_plans
from runtime.engines.protocol import Engine
from runtime.engines.prove import prove
from runtime.engines.tensorrt import TensorRtEngine
from runtime.errors import EngineError

PROVIDERS = ("auto", "tensorrt", "tensorrt-ep", "cuda", "cpu")
_FASTEST_FIRST = ("tensorrt", "cuda", "cpu")  # of `auto`; the EP builds engines for minutes, so it is only had by name

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Engines that have run.

    Attributes:
        engines: by graph, all on one provider.
        fallback: why they are not on the provider that was asked for (or that `auto` should have had); None when they
            are.
    """

    engines: Mapping[str, Engine]
    fallback: str | None = None


def start_engines(
    bundle: Bundle, *, provider: str = "auto", num_threads: int = 0, allow_fallback: bool = False
) -> Started:
    """Start an engine for each graph of a bundle and run each once.

    `auto` takes the fastest provider that this machine offers: TensorRT where engines were built for it
    (`vernier engines`), else CUDA, else the CPU. One that is offered and does not work is fallen back from, loudly.

    Args:
        bundle: whose graphs.
        provider: one of `PROVIDERS`.
        num_threads: threads within one call; 0 leaves it to the engine.
        allow_fallback: whether another provider may stand in for one that was asked for by name.

    Raises:
        EngineError: `provider_unavailable` when the provider asked for by name cannot be had, or a graph does not run.
        BundleError: a graph is not the one that the manifest describes.
    """
    if provider not in PROVIDERS:
        raise EngineError(
            f"there is no provider '{provider}'; choose one of {', '.join(PROVIDERS)}.", code="provider_unavailable"
        )
    asked = [name for name in _FASTEST_FIRST if _is_offered(name, bundle)]
    if provider != "auto":
        asked = [provider, *(name for name in asked if allow_fallback and name != provider)]
    failures: list[str] = []
    for name in asked:
        try:
            engines = _start_all(bundle, name, num_threads)
        except EngineError as error:
            if name == asked[-1]:
                raise
            failures.append(f"{name}: {error}")
            continue
        return Started(engines=engines, fallback=_report(provider, name, failures))
    raise AssertionError("the CPU is always asked for, or else the one provider that was")


def start_engine(file: Path, *, provider: str = "cpu", num_threads: int = 0) -> Engine:
    """Load one graph that belongs to no bundle yet, on a provider of ONNX Runtime.

    Raises:
        EngineError: `provider_unavailable`, or the file is no graph.
    """
    available = available_providers()
    if provider not in available:
        raise EngineError(
            f"{provider} was asked for, but this build of ONNX Runtime offers {', '.join(available)}. "
            "Install the extra `gpu`, or ask for cpu.",
            code="provider_unavailable",
        )
    return OnnxEngine(file, provider=provider, num_threads=num_threads)


def _is_offered(name: str, bundle: Bundle) -> bool:
    return has_plans(bundle) if name == "tensorrt" else name in available_providers()


def _start_all(bundle: Bundle, provider: str, num_threads: int) -> dict[str, Engine]:
    vocabulary = bundle.text_transform().vocabulary_size
    engines: dict[str, Engine] = {}
    for name, graph in bundle.manifest.graphs.items():
        if provider == "tensorrt":
            engines[name] = TensorRtEngine.of_bundle(bundle, name)
        else:
            engines[name] = start_engine(bundle.graph_file(name), provider=provider, num_threads=num_threads)
        prove(engines[name], graph, max_subwords=bundle.manifest.text.max_subwords, vocabulary=vocabulary)
    return engines


def _report(asked: str, got: str, failures: list[str]) -> str | None:
    if not failures:
        return None
    reason = f"{asked} was asked for, {got} runs; {'; '.join(failures)}"
    _log.warning("falling back to %s: %s", got, reason)
    return reason
