"""Parity: a graph that is not the model is refused, with the output and the numbers in the message."""

from pathlib import Path

import numpy as np
import pytest
import torch

from export import ExportReport
from export.build_bundle import as_samples
from export.graphs import GraphPlan, plan_graphs
from export.parity import ParityReport, Samples, Tolerance, check, measure
from runtime.bundle import OutputParity
from runtime.bundle.manifest import GraphName
from runtime.errors import ExportError
from training.checkpoint import Trained, load_trained

Exported = tuple[Trained, Samples, dict[GraphName, Path]]


@pytest.fixture
def exported(small_checkpoint: Path, small_export: ExportReport) -> Exported:
    trained = load_trained(small_checkpoint)
    source = trained.config.data.open(None, tokenizer=trained.tokenizer, batch_size=2, seed=7)
    files = {name: small_export.bundle / graph.file for name, graph in small_export.manifest.graphs.items()}
    return trained, as_samples(source, source.held_out(14)), files


def plans_of(trained: Trained, samples: Samples) -> list[GraphPlan]:
    pixels = torch.from_numpy(samples.pixels)
    return plan_graphs(trained.model, pixels=pixels, max_subwords=32, vocab_size=trained.tokenizer.get_vocab_size())


def test_faithful_graphs_pass(exported: Exported):
    trained, samples, files = exported
    report = measure(plans_of(trained, samples), files, samples)
    check(report, Tolerance())
    assert report.top_hit_agreement == 1.0
    assert all(parity.samples == 14 for parity in report.outputs.values())


@pytest.mark.parametrize(
    ("weight", "output"),
    [
        ("image_projection.project.weight", "image_encoder.image_embedding"),
        ("text_projection.project.weight", "text_encoder.text_embedding"),
        ("match_head.score.2.bias", "fusion.match"),
        ("masked_word_head.bias", "fusion.suggestions"),
    ],
)
def test_a_perturbed_weight_is_refused_by_name(exported: Exported, weight: str, output: str):
    trained, samples, files = exported
    with torch.no_grad():
        trained.model.get_parameter(weight).view(-1)[0] += 0.5
    report = measure(plans_of(trained, samples), files, samples)
    with pytest.raises(ExportError, match=f"parity failed for {output}: largest difference") as caught:
        check(report, Tolerance())
    assert caught.value.code == "parity_failed"
    assert "14 samples" in str(caught.value)


def report_of(*, difference: float = 0.0, cosine: float = 1.0, agreement: float = 1.0) -> ParityReport:
    parity = OutputParity(samples=3, largest_difference=difference, smallest_cosine=cosine)
    return ParityReport(outputs={"g.o": parity}, scale={"g.o": 4.0}, top_hit_agreement=agreement)


def test_differences_are_judged_by_the_size_of_the_output():
    check(report_of(difference=0.0039), Tolerance())
    with pytest.raises(ExportError, match=r"g\.o"):
        check(report_of(difference=0.0041), Tolerance())


@pytest.mark.parametrize("bad", [{"cosine": 0.99}, {"agreement": 0.9}, {"difference": float("nan")}])
def test_each_number_counts(bad: dict[str, float]):
    with pytest.raises(ExportError) as caught:
        check(report_of(**bad), Tolerance())
    assert caught.value.code == "parity_failed"


def test_padding_is_not_compared(exported: Exported):
    """Whatever stands at padding positions, the numbers are the same."""
    trained, samples, files = exported
    longer = Samples(
        pixels=samples.pixels,
        ids=np.pad(samples.ids, ((0, 0), (0, 3))),
        mask=np.pad(samples.mask, ((0, 0), (0, 3))),
    )
    plans = plans_of(trained, samples)
    assert measure(plans, files, longer).scale == pytest.approx(measure(plans, files, samples).scale, rel=1e-4)
