"""What serving needs of a machine, looked at one by one. A check never raises: what it cannot see is a finding too."""

from collections.abc import Callable, Iterator
from pathlib import Path

from vernier.doctor import machine, packages, served
from vernier.doctor.finding import Finding, State

__all__ = ["Finding", "State", "examine"]


def examine(*, bundle: Path | None, gallery: Path | None, host: str, port: int) -> list[Finding]:
    """Look at everything.

    Args:
        bundle: the bundle that would be served; the demo bundle when None.
        gallery: a gallery that would be served; not looked at when None.
        host: the address that would be listened on.
        port: the port there.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        machine.python,
        machine.processor,
        lambda: machine.disk(gallery or Path.cwd()),
        machine.gpu,
        packages.onnx_runtime,
        packages.tensorrt_libraries,
        packages.faiss_build,
        served.settings,
        lambda: served.bundle(bundle),
        *([] if gallery is None else [lambda: served.gallery(gallery, bundle)]),
        lambda: served.port(host, port),
    ]
    return [finding for check in checks for finding in check()]
