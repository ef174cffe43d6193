"""The machine: interpreter, cores, memory, disk, GPU and its driver."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vernier.doctor.finding import Finding

_LEAST_MEMORY_BYTES = 1 << 30
_LEAST_DISK_BYTES = 1 << 30


def has_gpu() -> bool:
    """Say whether the tool of NVIDIA's driver is installed."""
    return shutil.which("nvidia-smi") is not None


def python() -> Iterator[Finding]:
    """Look at the interpreter."""
    is_good = sys.version_info >= (3, 11)
    yield Finding(
        what="python",
        state="good" if is_good else "wrong",
        found=f"{platform.python_version()} at {sys.executable}",
        remedy="" if is_good else "install Python 3.11 or newer",
    )


def processor() -> Iterator[Finding]:
    """Count cores and memory."""
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


def disk(place: Path) -> Iterator[Finding]:
    """Look for room, and whether it can be written in, where galleries would be."""
    place = next(folder for folder in (place.resolve(), *place.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if free < _LEAST_DISK_BYTES:
        remedy = "free some room, or put galleries elsewhere: a full disk refuses writes to a gallery"
        yield Finding(what="disk", state="wrong", found=f"{_size(free)} free at {place}", remedy=remedy)
        return
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        yield Finding(
            what="disk",
            state="note",
            found=f"{place} cannot be written in ({error.strerror})",
            remedy="a gallery there is served read-only; to add to it, mend who owns the folder or how it is mounted",
        )
        return
    yield Finding(what="disk", state="good", found=f"{_size(free)} free at {place}")


def gpu() -> Iterator[Finding]:
    """Ask NVIDIA's driver."""
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


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
