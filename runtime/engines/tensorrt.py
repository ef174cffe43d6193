"""TensorRT as an engine: plans that `vernier engines` built, run with pinned buffers and recorded launches.

Only names that TensorRT 10.16 and 11 have in common are used; `tests/contracts/test_tensorrt.py` holds them against the
real bindings of both.

A call is brought to one of a few sizes, so that each is recorded once as a CUDA graph: the batch is filled up to the
next profile's, the text to the next length of `LENGTHS`; what was filled in is cut off again.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.manifest import Graph, TensorSpec
from runtime.bundle.reader import Bundle
from runtime.engines.cuda import Buffer, Stream, compute_capability
from runtime.engines.plans import read_plan
from runtime.engines.protocol import Arrays
from runtime.errors import EngineError

LENGTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
_SUBWORDS = "subwords"

_log = logging.getLogger(__name__)


def tensorrt() -> Any:  # noqa: ANN401  the bindings have no types
    """Return NVIDIA's bindings of TensorRT.

    Raises:
        EngineError: `provider_unavailable` when they are not installed, or their libraries are not.
    """
    try:
        import tensorrt as bindings
    except ImportError as error:
        raise EngineError(
            f"TensorRT cannot be loaded ({error}). On a machine with an NVIDIA GPU: pip install 'vernier[tensorrt]'.",
            code="provider_unavailable",
        ) from error
    return bindings


@dataclass(frozen=True, slots=True)
class _Size:
    """A size that calls are brought to."""

    profile: int
    batch: int
    length: int | None  # of texts; None for a graph without them


class TensorRtEngine:
    """One deserialised plan. Calls from several threads take turns."""

    provider = "tensorrt"

    def __init__(self, plan: bytes, graph: Graph, *, batches: Sequence[int], max_subwords: int) -> None:
        """Load a plan.

        Args:
            plan: what the builder gave.
            graph: the ONNX graph that it was built from.
            batches: the largest batch of each optimisation profile, in the plan's order, rising.
            max_subwords: the longest text.

        Raises:
            EngineError: TensorRT does not take it.
        """
        trt = tensorrt()
        self._graph = graph
        self._batches = tuple(batches)
        self._lengths = [length for length in LENGTHS if length < max_subwords] + [max_subwords]
        self._logger = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f"TensorRT does not take the engine of {graph.file}. Run `vernier engines` again.")
        if self._engine.num_optimization_profiles != len(self._batches):
            raise EngineError(f"the engine of {graph.file} has other profiles than its record. Build it again.")
        self._specs = {spec.name: spec for spec in (*graph.inputs, *graph.outputs)}
        self._is_text = any(_SUBWORDS in spec.shape for spec in graph.inputs)
        self._types = {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in self._specs}
        self._stream = Stream()
        largest = _Size(0, self._batches[-1], max_subwords if self._is_text else None)
        self._buffers = {name: Buffer(self._num_bytes(name, largest)) for name in self._specs}
        self._scratch = Buffer(int(self._engine.device_memory_size_v2))
        self._user_managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._recorded: dict[_Size, tuple[Any, Any]] = {}
        self._lock = Lock()

    @classmethod
    def of_bundle(cls, bundle: Bundle, name: str) -> "TensorRtEngine":
        """Load the plan of a bundle's graph that was built for this machine.

        Raises:
            EngineError: `provider_unavailable` when there is none, or no GPU, or no TensorRT.
        """
        graph = bundle.graph(name)
        known = next(known for known in bundle.manifest.graphs if known == name)
        version = str(tensorrt().__version__)
        file, plan = read_plan(bundle, known, tensorrt=version, compute_capability=compute_capability())
        return cls(file.read_bytes(), graph, batches=plan.batches, max_subwords=bundle.manifest.text.max_subwords)

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        wanted = [spec.name for spec in self._graph.outputs] if outputs is None else list(outputs)
        missing = [spec.name for spec in self._graph.inputs if spec.name not in inputs]
        if missing or not set(wanted) <= set(self._specs):
            raise EngineError(f"the engine of {self._graph.file} was not given {missing}, or does not give {wanted}.")
        rows = len(inputs[self._graph.inputs[0].name])
        step = self._batches[-1]
        with self._lock:
            parts = [
                self._run_at_once({name: values[at : at + step] for name, values in inputs.items()}, wanted)
                for at in range(0, max(1, rows), step)
            ]
        return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

    def _run_at_once(self, inputs: Arrays, wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
        rows = len(inputs[self._graph.inputs[0].name])
        length = next((inputs[s.name].shape[1] for s in self._graph.inputs if _SUBWORDS in s.shape), None)
        size = self._size(rows, length)
        for spec in self._graph.inputs:
            shape = self._shape(spec, size)
            filled = self._buffers[spec.name].host(shape, self._types[spec.name])
            values = inputs[spec.name]
            if values.ndim != len(shape) or any(have > room for have, room in zip(values.shape, shape, strict=True)):
                raise EngineError(f"{spec.name} of shape {list(values.shape)} does not fit {list(shape)}.")
            filled[...] = 0
            filled[tuple(slice(side) for side in values.shape)] = values
            self._buffers[spec.name].to_device(filled.nbytes, self._stream)
        self._execute(size)
        for name in wanted:
            self._buffers[name].to_host(self._num_bytes(name, size), self._stream)
        self._stream.wait()
        return {name: self._cut(name, size, rows, length) for name in wanted}

    def _size(self, rows: int, length: int | None) -> _Size:
        profile = next(at for at, batch in enumerate(self._batches) if rows <= batch)
        padded = None if length is None else next((known for known in self._lengths if length <= known), None)
        if length is not None and padded is None:
            raise EngineError(f"a text of {length} subwords is longer than the engine's {self._lengths[-1]}.")
        return _Size(profile, self._batches[profile], padded)

    def _shape(self, spec: TensorSpec, size: _Size) -> tuple[int, ...]:
        known = {"batch": size.batch, _SUBWORDS: size.length or 1}
        return tuple(known[side] if isinstance(side, str) else side for side in spec.shape)

    def _num_bytes(self, name: str, size: _Size) -> int:
        return math.prod(self._shape(self._specs[name], size)) * int(self._types[name].itemsize)

    def _execute(self, size: _Size) -> None:
        """Queue the graph's kernels; the first time at a size they run once by themselves and are then recorded."""
        if size in self._recorded:
            context, recorded = self._recorded[size]
            if recorded is None:
                self._enqueue(context)
            else:
                self._stream.launch(recorded)
            return
        context = self._engine.create_execution_context(self._user_managed)
        context.set_device_memory(self._scratch.device, self._scratch.num_bytes)
        context.set_optimization_profile_async(size.profile, self._stream.handle)
        for spec in self._graph.inputs:
            if not context.set_input_shape(spec.name, self._shape(spec, size)):
                raise EngineError(
                    f"the engine of {self._graph.file} takes no {spec.name} of {self._shape(spec, size)}."
                )
        for name, buffer in self._buffers.items():
            context.set_tensor_address(name, buffer.device)
        self._enqueue(context)
        self._stream.wait()
        self._recorded[size] = (context, self._record(context))  # the context stays: what was recorded uses its state

    def _record(self, context: Any) -> Any:  # noqa: ANN401
        """The kernels as one launch; None, loudly, for a graph that cannot be recorded."""
        try:
            self._stream.begin_recording()
            try:
                self._enqueue(context)
            finally:
                recorded = self._stream.end_recording()
        except EngineError as error:
            _log.warning("%s runs kernel by kernel, since it cannot be recorded: %s", self._graph.file, error)
            return None
        return recorded

    def _enqueue(self, context: Any) -> None:  # noqa: ANN401
        if not context.execute_async_v3(self._stream.handle):
            raise EngineError(f"TensorRT failed to run {self._graph.file}.")

    def _cut(self, name: str, size: _Size, rows: int, length: int | None) -> NDArray[Any]:
        spec = self._specs[name]
        values = self._buffers[name].host(self._shape(spec, size), self._types[name])[:rows]
        if length is not None and _SUBWORDS in spec.shape:
            values = np.take(values, range(length), axis=spec.shape.index(_SUBWORDS))
        return values.copy()


def plan_file_name(graph: Graph) -> str:
    """Return the name of a graph's plan."""
    return f"{Path(graph.file).stem}.plan"
