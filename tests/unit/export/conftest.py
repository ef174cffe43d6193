"""A checkpoint of a few steps and its bundle, made once for all export tests."""

import dataclasses
from pathlib import Path

import pytest
import torch

from export import ExportReport, build
from export.graphs import TorchEngine, plan_graphs
from runtime.encoder import Encoder
from runtime.engines import Engine
from tests.numerics.small import MODEL, small_config
from tests.unit.training.test_trainer import trainer_of
from training.checkpoint import load_trained
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


@pytest.fixture(scope="session")
def served(small_export: ExportReport) -> Encoder:
    """The small bundle, as it is served."""
    return Encoder.load(small_export.bundle, provider="cpu")


@pytest.fixture(scope="session")
def by_torch(small_checkpoint: Path, served: Encoder) -> Encoder:
    """The small checkpoint behind the same encoder, run by torch."""
    trained = load_trained(small_checkpoint)
    transform = served.text_transform
    plans = plan_graphs(
        trained.model.eval(),
        pixels=torch.zeros(2, 3, 32, 32),
        max_subwords=transform.max_subwords,
        vocab_size=transform.vocabulary_size,
    )
    engines: dict[str, Engine] = {plan.name: TorchEngine(plan) for plan in plans}
    return Encoder(served.manifest, transform, engines, lexicon=served.lexicon)
