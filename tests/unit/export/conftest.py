"""A checkpoint of a few steps and its bundle, made once for all export tests."""

import dataclasses
from pathlib import Path

import pytest

from export import ExportReport, build
from tests.numerics.small import MODEL, small_config
from tests.unit.training.test_trainer import trainer_of
from training.model import ProofReaderConfig, RegionHeadConfig, VisualDictionaryConfig

READING = dataclasses.replace(
    MODEL,
    proof_reader=ProofReaderConfig(heads=2),
    region_head=RegionHeadConfig(regions=6, hidden=8),
    visual_dictionary=VisualDictionaryConfig(size=12, start_step=1),
)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training steps on drawn scenes, of a model with every graph."""
    return trainer_of(small_config(num_steps=3, ema_decay=0.9, model=READING), tmp_path_factory.mktemp("run")).run()


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
