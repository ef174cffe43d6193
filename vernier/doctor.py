"""What serving needs of a machine, looked at one by one. A check never raises: what it cannot see is a finding too."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.errors import VernierError

_LEAST_MEMORY_BYTES = 1 << 30
_LEAST_DISK_BYTES = 1 << 30

State = Literal["good", "note", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: `good`; `note` when serving works but perhaps not as wanted; `wrong` when it does not work.
        found: what was seen.
        remedy: how to mend it; empty when there is nothing to mend.
    """

    what: str
    state: State
    found: str
    remedy: str = ""


def examine(*, bundle: Path | None, gallery: Path | None, host: str, port: int) -> list[Finding]:
    """Look at everything.

    Args:
        bundle: the bundle that would be served; the demo bundle when None.
        gallery: a gallery that would be served; not looked at when None.
        host: the address that would be listened on.
        port: the port there.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _machine,
        lambda: _disk(gallery or Path.cwd()),
        _gpu,
        _onnx_runtime,
        _tensorrt,
        _faiss,
        lambda: _bundle(bundle),
        *([] if gallery is None else [lambda: _gallery(gallery)]),
        lambda: _port(host, port),
    ]
    return [finding for check in checks for finding in check()]


def _python() -> Iterator[Finding]:
    is_good = sys.version_info >= (3, 11)
    yield Finding(
        what="python",
        state="good" if is_good else "wrong",
        found=f"{platform.python_version()} at {sys.executable}",
        remedy="" if is_good else "install Python 3.11 or newer",
    )


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota()
    limited = f", limited to {quota:g} by its control group" if quota is not None and quota < cores else ""
    yield Finding(what="cores", state="good", found=f"{cores}{limited} ({platform.machine()})")
    memory = _available_memory()
    if memory is None:
        yield Finding(what="memory", state="note", found="cannot be seen on this system")
        return
    enough = memory >= _LEAST_MEMORY_BYTES
    yield Finding(
        what="memory",
        state="good" if enough else "note",
        found=f"{_size(memory)} available",
        remedy="" if enough else "a server with its bundle takes about 1 GiB; stop something, or take a larger machine",
    )


def _cpu_quota() -> float | None:
    """Cores that the control group allows (cgroup v2)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _available_memory() -> int | None:
    """Bytes that can be had: what the kernel says is available, or less where the control group says so."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return available
    return min(available, limit - used)


def _disk(place: Path) -> Iterator[Finding]:
    place = next(folder for folder in (place.resolve(), *place.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    enough = free >= _LEAST_DISK_BYTES
    yield Finding(
        what="disk",
        state="good" if enough else "wrong",
        found=f"{_size(free)} free at {place}",
        remedy="" if enough else "free some room: a full disk refuses writes to a gallery",
    )


def _gpu() -> Iterator[Finding]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding(what="gpu", state="note", found="none (no nvidia-smi): everything runs on the CPU")
        return
    query = "--query-gpu=name,driver_version,memory.total,compute_cap"
    try:
        answer = subprocess.run(
            [tool, query, "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=True
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip().splitlines()
        yield _broken_gpu(said[-1] if said else f"nvidia-smi ended with {error.returncode}")
    except (OSError, subprocess.TimeoutExpired) as error:
        yield _broken_gpu(str(error))
    else:
        for number, line in enumerate(answer.stdout.strip().splitlines()):
            name, driver, memory, capability = (part.strip() for part in line.split(","))
            found = f"{name}, driver {driver}, {memory}, compute capability {capability}"
            yield Finding(what=f"gpu {number}", state="good", found=found)


def _broken_gpu(said: str) -> Finding:
    return Finding(
        what="gpu",
        state="note",
        found=f"nvidia-smi fails: {said}",
        remedy="install or reload the NVIDIA driver (after an upgrade, reboot); without it everything runs on the CPU",
    )


def _onnx_runtime() -> Iterator[Finding]:
    try:
        import onnxruntime

        from runtime.engines.onnx import available_providers

        providers = available_providers()
        version = onnxruntime.__version__
    except ImportError as error:
        yield Finding(
            what="onnxruntime", state="wrong", found=str(error), remedy="pip install -r requirements/serve.txt"
        )
        return
    has_gpu = shutil.which("nvidia-smi") is not None
    misses_gpu = has_gpu and "cuda" not in providers
    yield Finding(
        what="onnxruntime",
        state="note" if misses_gpu else "good",
        found=f"{version}, providers {', '.join(providers)}",
        remedy="there is a GPU and this build does not use it: pip install 'vernier[gpu]'" if misses_gpu else "",
    )


def _tensorrt() -> Iterator[Finding]:
    """TensorRT matters where there is a GPU; elsewhere nothing is said of it."""
    if shutil.which("nvidia-smi") is None:
        return
    try:
        from runtime.engines.cuda import compute_capability
        from runtime.engines.tensorrt import tensorrt

        version, capability = tensorrt().__version__, compute_capability()
    except (ImportError, VernierError) as error:
        yield Finding(
            what="tensorrt",
            state="note",
            found=str(error),
            remedy="only the provider `tensorrt` needs it; cuda does not",
        )
        return
    yield Finding(
        what="tensorrt",
        state="good",
        found=f"{version}, compute capability {capability}: `vernier engines` can build here",
    )


def _faiss() -> Iterator[Finding]:
    try:
        import faiss
    except ImportError as error:
        yield Finding(what="faiss", state="wrong", found=str(error), remedy="pip install -r requirements/serve.txt")
        return
    gpus = int(faiss.get_num_gpus())
    yield Finding(
        what="faiss", state="good", found=f"{faiss.__version__} ({faiss.get_compile_options().strip()}), GPUs: {gpus}"
    )


def _bundle(named: Path | None) -> Iterator[Finding]:
    from vernier.demo import demo_bundle

    try:
        from runtime.encoder import Encoder

        directory = named or demo_bundle()
        encoder = Encoder.load(directory)
        encoder.embed_texts(["a small red circle"])
    except VernierError as error:
        yield Finding(
            what="bundle", state="wrong", found=str(error), remedy="export or copy a bundle, and name it with --bundle"
        )
        return
    graphs = ", ".join(
        f"{name} in {graph.precision} on {encoder.engines[name].provider}"
        for name, graph in encoder.manifest.graphs.items()
    )
    yield Finding(
        what="bundle", state="good", found=f"{encoder.manifest.name} at {directory}: whole; {graphs}; dim {encoder.dim}"
    )
    if encoder.fallback is not None:
        yield Finding(
            what="provider",
            state="note",
            found=encoder.fallback,
            remedy="mend what failed, or name the provider that is meant with VERNIER_PROVIDER",
        )


def _gallery(directory: Path) -> Iterator[Finding]:
    try:
        from index import open_folder

        with open_folder(directory, read_only=True) as gallery:
            info = gallery.info()
    except VernierError as error:
        yield Finding(what="gallery", state="wrong", found=str(error), remedy="see `vernier index verify`")
        return
    yield Finding(what="gallery", state="good", found=f"{info.items} items at {directory}, {info.index_kind} index")


def _port(host: str, port: int) -> Iterator[Finding]:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if _vernier_answers(host, port):
            yield Finding(what="port", state="note", found=f"a Vernier server answers at {host}:{port} already")
            return
        yield Finding(
            what="port",
            state="wrong",
            found=f"{host}:{port} cannot be listened on ({error.strerror or error})",
            remedy="stop what listens there, or serve on another with --port (0 takes a free one)",
        )
        return
    yield Finding(what="port", state="good", found=f"{host}:{port} is free")


def _vernier_answers(host: str, port: int) -> bool:
    from vernier.client import Client, Retry

    reachable = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    try:
        with Client(f"http://{reachable}:{port}", timeout_s=2, retry=Retry(attempts=1)) as client:
            return client.health().status in ("ready", "not_ready")
    except VernierError:
        return False


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
