"""The little of CUDA that a TensorRT engine needs: a stream, memory on both sides, recorded launches.

Through NVIDIA's own bindings (`cuda-bindings`), imported when the first engine starts: see docs/adr/0027.
"""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import EngineError


def runtime() -> Any:  # noqa: ANN401  the bindings have no types
    """Return the bindings of the CUDA runtime.

    Raises:
        EngineError: `provider_unavailable` when they are not installed.
    """
    try:
        from cuda.bindings import runtime as bindings
    except ImportError as error:
        raise EngineError(
            f"TensorRT engines need NVIDIA's cuda-bindings ({error}); pip install 'vernier[tensorrt]'.",
            code="provider_unavailable",
        ) from error
    return bindings


def checked(answer: tuple[Any, ...]) -> Any:  # noqa: ANN401  whatever the call gives
    """Return what a call of the bindings gave, which is None, one value, or a tuple.

    Raises:
        EngineError: `provider_unavailable` when there is no usable GPU, `engine_failed` for any other error.
    """
    cuda = runtime()
    status, *values = answer
    if status != cuda.cudaError_t.cudaSuccess:
        _, name = cuda.cudaGetErrorName(status)
        said = name.decode() if isinstance(name, bytes) else str(status)
        no_gpu = ("cudaErrorNoDevice", "cudaErrorInsufficientDriver")
        code = "provider_unavailable" if said in no_gpu else "engine_failed"
        raise EngineError(f"CUDA says {said}.", code=code)
    return values[0] if len(values) == 1 else tuple(values) or None


def compute_capability() -> str:
    """Return that of the first GPU, such as `9.0`.

    Raises:
        EngineError: `provider_unavailable` when there is no usable GPU.
    """
    cuda = runtime()
    if not checked(cuda.cudaGetDeviceCount()):
        raise EngineError("there is no NVIDIA GPU on this machine.", code="provider_unavailable")
    attributes = cuda.cudaDeviceAttr
    major = checked(cuda.cudaDeviceGetAttribute(attributes.cudaDevAttrComputeCapabilityMajor, 0))
    minor = checked(cuda.cudaDeviceGetAttribute(attributes.cudaDevAttrComputeCapabilityMinor, 0))
    return f"{major}.{minor}"


class Stream:
    """A queue of work on the GPU."""

    def __init__(self) -> None:
        self._cuda = runtime()
        self.handle = checked(self._cuda.cudaStreamCreateWithFlags(self._cuda.cudaStreamNonBlocking))

    def wait(self) -> None:
        """Return when all the work is done."""
        checked(self._cuda.cudaStreamSynchronize(self.handle))

    def begin_recording(self) -> None:
        """From here on work is recorded, not done."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(self._cuda.cudaStreamBeginCapture(self.handle, mode))

    def end_recording(self) -> Any:  # noqa: ANN401  an opaque handle
        """Return what was recorded, ready to be launched."""
        graph = checked(self._cuda.cudaStreamEndCapture(self.handle))
        launchable = checked(self._cuda.cudaGraphInstantiate(graph, 0))
        checked(self._cuda.cudaGraphDestroy(graph))
        return launchable

    def launch(self, recorded: Any) -> None:  # noqa: ANN401
        """Queue what was recorded: one call in place of one per kernel."""
        checked(self._cuda.cudaGraphLaunch(recorded, self.handle))


class Buffer:
    """Memory on the GPU with pinned memory beside it, from which copies run without a detour."""

    def __init__(self, num_bytes: int) -> None:
        self._cuda = runtime()
        self.num_bytes = max(1, num_bytes)
        self.device = int(checked(self._cuda.cudaMalloc(self.num_bytes)))
        self._pinned = int(checked(self._cuda.cudaHostAlloc(self.num_bytes, self._cuda.cudaHostAllocDefault)))
        self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * self.num_bytes).from_address(self._pinned))

    def host(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the beginning of the pinned memory as an array."""
        num_bytes = int(np.prod(shape)) * dtype.itemsize
        return self._bytes[:num_bytes].view(dtype).reshape(shape)

    def to_device(self, num_bytes: int, stream: Stream) -> None:
        """Queue a copy of the beginning to the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        checked(self._cuda.cudaMemcpyAsync(self.device, self._pinned, num_bytes, kind, stream.handle))

    def to_host(self, num_bytes: int, stream: Stream) -> None:
        """Queue a copy of the beginning from the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        checked(self._cuda.cudaMemcpyAsync(self._pinned, self.device, num_bytes, kind, stream.handle))

    def close(self) -> None:
        """Give both back."""
        checked(self._cuda.cudaFree(self.device))
        checked(self._cuda.cudaFreeHost(self._pinned))
