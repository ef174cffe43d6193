"""A checkpoint of a few steps and its bundle, made once for all export tests."""

from pathlib import Path

import pytest

from export import ExportReport, build
from tests.numerics.small import small_config
from tests.unit.training.test_trainer import trainer_of


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training steps on drawn scenes."""
    return trainer_of(small_config(num_steps=3, ema_decay=0.9), tmp_path_factory.mktemp("run")).run()


@pytest.fixture(scope="session")
def export_progress() -> list[tuple[int, int]]:
    """What the export of `small_export` told of its progress."""
    return []


@pytest.fixture(scope="session")
def small_export(
    small_checkpoint: Path, export_progress: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> ExportReport:
    """The bundle of those three steps."""
    out = tmp_path_factory.mktemp("out") / "small"
    return build(small_checkpoint, out, progress=lambda done, total: export_progress.append((done, total)))
