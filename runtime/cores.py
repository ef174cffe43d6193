"""How many cores this process may really use, which in a container is not how many the machine has."""

import math
import os
from pathlib import Path

_V2 = Path("/sys/fs/cgroup/cpu.max")
_V1 = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cores() -> int:
    """Return the number of cores: those that the process may run on, within its container's quota; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, math.ceil(_quota() or allowed)))


def _quota() -> float | None:
    """Return the cores' worth of time that a container is given; None when it is given all."""
    try:
        if _V2.exists():
            quota, period = _V2.read_text().split()
        else:
            quota, period = (file.read_text().strip() for file in _V1)
        return float(quota) / float(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
