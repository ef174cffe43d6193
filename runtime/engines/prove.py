"""Is this engine the graph that the manifest describes, and does it run here? Told by running it, before it serves.

A provider that is listed may not work, and a graph of another model may have the right name; both would otherwise be
found by the first request.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.manifest import Graph, TensorSpec
from runtime.engines.protocol import Engine
from runtime.errors import BundleError, EngineError

_BATCHES = (1, 2)


def prove(engine: Engine, graph: Graph, *, max_subwords: int, vocabulary: int) -> None:
    """Run an engine on made-up inputs: one row, and two rows of the longest text with the tokenizer's last subword.

    Args:
        engine: what is to be proved.
        graph: what it should be.
        max_subwords: the longest text that the manifest allows.
        vocabulary: how many subwords the tokenizer knows.

    Raises:
        EngineError: it does not run.
        BundleError: `bundle_damaged` when it gives something else than the manifest says.
    """
    for batch in _BATCHES:
        sizes = {"batch": batch, "subwords": min(3, max_subwords) if batch == 1 else max_subwords}
        inputs = {spec.name: _made_up(spec, sizes, vocabulary) for spec in graph.inputs}
        try:
            outputs = engine.run(inputs)
        except EngineError as error:
            raise EngineError(
                f"{graph.file} does not run on {engine.provider} with the inputs that the manifest describes "
                f"(batch {batch}, {sizes['subwords']} of {vocabulary} subwords): {error}",
                code=error.code,
            ) from error
        for spec in graph.outputs:
            _check(graph, spec, outputs.get(spec.name), sizes)


def _made_up(spec: TensorSpec, sizes: dict[str, int], vocabulary: int) -> NDArray[Any]:
    shape = _shape(spec, sizes)
    if spec.name == "ids":
        ids = np.zeros(shape, np.int64)
        ids[:, -1] = vocabulary - 1
        return ids
    if spec.dtype == "int64":
        return np.ones(shape, np.int64)
    ramp = np.linspace(-1, 1, num=int(np.prod(shape)), dtype=np.float32)
    return ramp.reshape(shape)


def _shape(spec: TensorSpec, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(sizes.get(size, 1) if isinstance(size, str) else size for size in spec.shape)


def _check(graph: Graph, spec: TensorSpec, found: NDArray[Any] | None, sizes: dict[str, int]) -> None:
    expected = [sizes.get(size) if isinstance(size, str) else size for size in spec.shape]  # None: any size
    if found is None or not _fits(found.shape, expected):
        gives = "no such output" if found is None else f"{list(found.shape)}"
        raise BundleError(
            f"{graph.file} is not the graph that the manifest describes: for {spec.name} it gives {gives}, the "
            f"manifest says {expected}. Export the bundle again.",
            code="bundle_damaged",
        )
    if not np.isfinite(found).all():
        raise EngineError(f"{graph.file} gives numbers that are none (in {spec.name}).")


def _fits(shape: tuple[int, ...], expected: list[int | None]) -> bool:
    return len(shape) == len(expected) and all(
        want is None or have == want for have, want in zip(shape, expected, strict=True)
    )
