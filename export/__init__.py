"""Export: a checkpoint becomes a bundle, and a bundle that is not the checkpoint is refused."""

from export.build_bundle import ExportReport, build

__all__ = ["ExportReport", "build"]
