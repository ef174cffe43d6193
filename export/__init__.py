"""Export: a checkpoint becomes a bundle, and a bundle that is not the checkpoint is refused."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.assemble import ExportReport
    from export.build_bundle import build
    from export.tensorrt import build_engines

__all__ = ["ExportReport", "build", "build_engines"]


def __getattr__(name: str) -> object:
    """Load what is asked for: engines are built where there is no torch."""
    from importlib import import_module

    homes = {"ExportReport": "assemble", "build": "build_bundle", "build_engines": "tensorrt"}
    if name not in homes:
        raise AttributeError(f"module 'export' has no attribute {name!r}")
    return getattr(import_module(f"export.{homes[name]}"), name)
