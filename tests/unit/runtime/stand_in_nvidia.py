"""Stand-ins for TensorRT and CUDA that run on a CPU, so that what is built around them can be run and not only read.

Not ours is what is stood in for: NVIDIA's libraries. "Device" memory is memory, a plan is the ONNX graph with its
profiles, and a kernel is a call of ONNX Runtime. The rules that real code must keep are kept: shapes lie within the
profile, every tensor has an address, a context has memory, and what is queued while a stream records does not run. That
the names exist in the real bindings is shown elsewhere (`tests/contracts/test_tensorrt.py`).
"""

import base64
import ctypes
import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

ONNX_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


@dataclass
class Device:
    """What the stand-ins have done."""

    blocks: dict[int, Any] = field(default_factory=dict)
    recording: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    kernels: int = 0
    launches: int = 0
    records: bool = True  # whether a stream can be recorded
    skew: float = 0.0  # added to every output: an engine that is wrong
    capability: tuple[int, int] = (9, 0)
    gpus: int = 1

    def queue(self, stream: int, work: Callable[[], None]) -> None:
        if stream in self.recording:
            self.recording[stream].append(work)
        else:
            work()

    def allocate(self, num_bytes: int) -> int:
        block = (ctypes.c_uint8 * num_bytes)()
        self.blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)


class _Error(IntEnum):
    cudaSuccess = 0  # noqa: N815  NVIDIA's names
    cudaErrorNoDevice = 100  # noqa: N815
    cudaErrorStreamCaptureInvalidated = 901  # noqa: N815


class _Attribute(IntEnum):
    cudaDevAttrComputeCapabilityMajor = 75  # noqa: N815
    cudaDevAttrComputeCapabilityMinor = 76  # noqa: N815


def cuda_runtime(device: Device) -> types.ModuleType:
    """A stand-in for `cuda.bindings.runtime`."""
    ok = _Error.cudaSuccess
    cuda = types.ModuleType("cuda.bindings.runtime")
    recorded: dict[int, list[Callable[[], None]]] = {}

    def copy(target: int, source: int, num_bytes: int, kind: int, stream: int) -> tuple[_Error]:
        device.queue(stream, lambda: ctypes.memmove(target, source, num_bytes) and None)
        return (ok,)

    def begin(stream: int, mode: int) -> tuple[_Error]:
        device.recording[stream] = []
        return (ok,)

    def end(stream: int) -> tuple[_Error, int | None]:
        work = device.recording.pop(stream)
        if not device.records:
            return _Error.cudaErrorStreamCaptureInvalidated, None
        recorded[len(recorded) + 1] = work
        return ok, len(recorded)

    def launch(graph: int, stream: int) -> tuple[_Error]:
        device.launches += 1
        for work in recorded[graph]:
            work()
        return (ok,)

    def count() -> tuple[_Error, int]:
        return (ok, device.gpus) if device.gpus else (_Error.cudaErrorNoDevice, 0)

    streams = iter(range(1, 10_000))
    for name, value in {
        "cudaError_t": _Error,
        "cudaDeviceAttr": _Attribute,
        "cudaMemcpyKind": types.SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2),
        "cudaStreamCaptureMode": types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
        "cudaStreamNonBlocking": 1,
        "cudaHostAllocDefault": 0,
        "cudaGetErrorName": lambda status: (ok, status.name.encode()),
        "cudaGetDeviceCount": count,
        "cudaDeviceGetAttribute": lambda which, _: (ok, device.capability[which - 75]),
        "cudaStreamCreateWithFlags": lambda _: (ok, next(streams)),
        "cudaStreamSynchronize": lambda _: (ok,),
        "cudaMalloc": lambda size: (ok, device.allocate(size)),
        "cudaHostAlloc": lambda size, _: (ok, device.allocate(size)),
        "cudaMemcpyAsync": copy,
        "cudaStreamBeginCapture": begin,
        "cudaStreamEndCapture": end,
        "cudaGraphInstantiate": lambda graph, _: (ok, graph),
        "cudaGraphDestroy": lambda _: (ok,),
        "cudaGraphLaunch": launch,
    }.items():
        setattr(cuda, name, value)
    return cuda


class _Context:
    def __init__(self, device: Device, session: Any, profiles: list[Any]) -> None:
        self._device, self._session, self._profiles = device, session, profiles
        self._profile: dict[str, Any] | None = None
        self._memory = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_device_memory(self, address: int, size: int) -> None:
        assert address in self._device.blocks
        self._memory = size

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self._profile = self._profiles[index]
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self._profile is not None
        least, _, most = self._profile[name]
        if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
            return False
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        names = [tensor.name for tensor in (*self._session.get_inputs(), *self._session.get_outputs())]
        assert self._memory > 0, "a context without memory"
        assert set(names) <= set(self._addresses), "a tensor without an address"
        self._device.queue(stream, self._run)
        return True

    def _run(self) -> None:
        self._device.kernels += 1
        inputs = {
            tensor.name: self._at(tensor.name, self._shapes[tensor.name], ONNX_TYPES[tensor.type])
            for tensor in self._session.get_inputs()
        }
        outputs = self._session.run(None, inputs)
        for tensor, values in zip(self._session.get_outputs(), outputs, strict=True):
            self._at(tensor.name, values.shape, values.dtype)[...] = values + self._device.skew

    def _at(self, name: str, shape: tuple[int, ...], kind: Any) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        raw = (ctypes.c_uint8 * size).from_address(self._addresses[name])
        return np.frombuffer(raw, kind).reshape(shape)


class _Engine:
    device_memory_size_v2 = 1024

    def __init__(self, device: Device, plan: bytes) -> None:
        said = json.loads(plan)
        self._device, self._profiles = device, said["profiles"]
        self._session = ort.InferenceSession(base64.b64decode(said["graph"]), providers=["CPUExecutionProvider"])
        self.num_optimization_profiles = len(self._profiles)

    def get_tensor_dtype(self, name: str) -> Any:
        tensors = (*self._session.get_inputs(), *self._session.get_outputs())
        return ONNX_TYPES[next(tensor.type for tensor in tensors if tensor.name == name)]

    def create_execution_context(self, strategy: str) -> _Context:
        assert strategy == "user managed"
        return _Context(self._device, self._session, self._profiles)


class _Builder:
    def __init__(self, logger: Any) -> None:
        pass

    def create_network(self, flags: int) -> types.SimpleNamespace:
        assert flags == 1 << 1, "only strongly typed networks"
        return types.SimpleNamespace(graph=b"")

    def create_builder_config(self) -> "_Config":
        return _Config()

    def create_optimization_profile(self) -> "_Profile":
        return _Profile()

    def build_serialized_network(self, network: Any, config: "_Config") -> bytes:
        monitor = config.progress_monitor
        monitor.phase_start("build", None, 4)
        monitor.phase_start("tactics", "build", 9)
        for step in range(4):
            monitor.step_complete("tactics", step)
            monitor.step_complete("build", step)
        monitor.phase_finish("build")
        graph = base64.b64encode(network.graph).decode()
        return json.dumps({"graph": graph, "profiles": [profile.shapes for profile in config.profiles]}).encode()


class _Config:
    def __init__(self) -> None:
        self.profiles: list[_Profile] = []
        self.progress_monitor: Any = None
        self._cache = b""

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        assert pool == "workspace"

    def create_timing_cache(self, body: bytes) -> bytes:
        return body + b"timing"

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self._cache = cache
        return True

    def get_timing_cache(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(serialize=lambda: self._cache)

    def add_optimization_profile(self, profile: "_Profile") -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, least: Any, usual: Any, most: Any) -> None:
        assert all(a <= b <= c for a, b, c in zip(least, usual, most, strict=True))
        self.shapes[name] = (least, usual, most)


class _Parser:
    def __init__(self, network: Any, logger: Any) -> None:
        self._network = network
        self.num_errors = 1

    def parse(self, body: bytes) -> bool:
        try:
            ort.InferenceSession(body, providers=["CPUExecutionProvider"])
        except Exception:
            return False
        self._network.graph = body
        return True

    def get_error(self, at: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(desc=lambda: "no such operator")


def tensorrt(device: Device, version: str) -> types.ModuleType:
    """A stand-in for `tensorrt`."""
    trt = types.ModuleType("tensorrt")

    class Logger:
        WARNING = 2

        def __init__(self, severity: int) -> None:
            pass

    class Runtime:
        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
            try:
                return _Engine(device, plan)
            except ValueError:
                return None

    class Monitor:
        def __init__(self) -> None:
            self.began = True

    for name, value in {
        "__version__": version,
        "Logger": Logger,
        "Runtime": Runtime,
        "Builder": _Builder,
        "OnnxParser": _Parser,
        "IProgressMonitor": Monitor,
        "NetworkDefinitionCreationFlag": types.SimpleNamespace(STRONGLY_TYPED=1),
        "MemoryPoolType": types.SimpleNamespace(WORKSPACE="workspace"),
        "ExecutionContextAllocationStrategy": types.SimpleNamespace(USER_MANAGED="user managed"),
        "nptype": lambda kind: kind,
    }.items():
        setattr(trt, name, value)
    return trt


def install(patch: pytest.MonkeyPatch, *, version: str = "11.4.0") -> Device:
    """Put the stand-ins where imports find them, and return what they will have done."""
    device = Device()
    package, bindings = types.ModuleType("cuda"), types.ModuleType("cuda.bindings")
    runtime = cuda_runtime(device)
    package.bindings, bindings.runtime = bindings, runtime  # type: ignore[attr-defined]
    for name, module in {
        "cuda": package,
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": runtime,
        "tensorrt": tensorrt(device, version),
    }.items():
        patch.setitem(sys.modules, name, module)
    return device
