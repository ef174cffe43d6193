"""Parity: a graph that is not the model is refused, with the output and the numbers in the message."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from export.assemble import ExportReport
from export.graphs import TorchEngine, plan_graphs
from export.parity import (
    Case,
    ParityReport,
    Samples,
    Tolerance,
    agreement,
    batches,
    case_of,
    check,
    is_same_choice,
    measure,
    samples_of,
)
from runtime.bundle import Decisions, OutputParity
from runtime.encoder import Encoder
from runtime.engines import Engine
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import ExportError
from training.checkpoint import Trained, load_trained


@pytest.fixture
def trained(small_checkpoint: Path) -> Trained:
    return load_trained(small_checkpoint)


@pytest.fixture
def encoder(small_export: ExportReport) -> Encoder:
    return Encoder.load(small_export.bundle, provider="cpu", num_threads=1)


@pytest.fixture
def cases(trained: Trained) -> list[Case]:
    source = trained.config.data.open(None, tokenizer=trained.tokenizer, batch_size=2, seed=7)
    return [case_of(s.image, s.caption, s.edited or s.caption) for s in source.held_out(14)]


def torch_engines(trained: Trained, pixels: np.ndarray) -> dict[str, Engine]:
    vocabulary = trained.tokenizer.get_vocab_size()
    plans = plan_graphs(trained.model, pixels=torch.from_numpy(pixels), max_subwords=32, vocab_size=vocabulary)
    return {plan.name: TorchEngine(plan) for plan in plans}


def compare(trained: Trained, encoder: Encoder, samples: Samples) -> ParityReport:
    return measure(encoder.manifest.graphs, torch_engines(trained, samples.pixels), encoder.engines, samples)


def test_faithful_graphs_pass_and_decide_alike(trained: Trained, encoder: Encoder, cases: list[Case]):
    samples = samples_of(encoder, cases)
    report = compare(trained, encoder, samples)
    check(report, Tolerance())
    assert all(parity.samples == 14 for parity in report.outputs.values())
    by_torch = Encoder(encoder.manifest, encoder.text_transform, torch_engines(trained, samples.pixels))
    assert agreement(by_torch, encoder, cases) == Decisions(
        samples=14, top_hit=1, flagged_word=1, best_correction=1, best_box=1, hottest_patch=1
    )


@pytest.mark.parametrize(
    ("weight", "output"),
    [
        ("image_projection.project.weight", "image_encoder.image_embedding"),
        ("text_projection.project.weight", "text_encoder.text_embedding"),
        ("match_head.score.2.bias", "fusion.match"),
        ("masked_word_head.bias", "fusion.suggestions"),
        ("proof_reader.error_head.score.3.bias", "proof_reader.word_error"),
    ],
)
def test_a_perturbed_weight_is_refused_by_name(
    trained: Trained, encoder: Encoder, cases: list[Case], weight: str, output: str
):
    with torch.no_grad():
        trained.model.get_parameter(weight).view(-1)[0] += 0.5
    report = compare(trained, encoder, samples_of(encoder, cases))
    with pytest.raises(ExportError, match=f"parity failed for {output}: largest difference") as caught:
        check(report, Tolerance())
    assert caught.value.code == "parity_failed"
    assert "14 samples" in str(caught.value)


def report_of(
    *, difference: float = 0.0, cosine: float = 1.0, top: float = 1.0, word: float = 1.0, box: float | None = None
) -> ParityReport:
    parity = OutputParity(samples=3, largest_difference=difference, smallest_cosine=cosine)
    decisions = Decisions(samples=3, top_hit=top, flagged_word=word, best_box=box)
    return ParityReport(outputs={"g.o": parity}, scale={"g.o": 4.0}, decisions=decisions)


def test_differences_are_judged_by_the_size_of_the_output():
    check(report_of(difference=0.0039), Tolerance())
    with pytest.raises(ExportError, match=r"g\.o"):
        check(report_of(difference=0.0041), Tolerance())


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"cosine": 0.99}, "smallest cosine"),
        ({"difference": float("nan")}, "largest difference"),
        ({"top": 0.9}, "top hit"),
        ({"word": 0.9}, "flagged word"),
        ({"box": 0.9}, "best box"),
        ({"box": float("nan")}, "best box"),
    ],
)
def test_each_number_counts(bad: dict[str, float], named: str):
    with pytest.raises(ExportError, match=named) as caught:
        check(report_of(**bad), Tolerance())
    assert caught.value.code == "parity_failed"


def test_padding_is_not_compared(trained: Trained, encoder: Encoder, cases: list[Case]):
    """Whatever stands at padding positions, the numbers are the same."""
    samples = samples_of(encoder, cases)
    longer = Samples(
        pixels=samples.pixels, ids=np.pad(samples.ids, ((0, 0), (0, 3))), mask=np.pad(samples.mask, ((0, 0), (0, 3)))
    )
    assert compare(trained, encoder, longer).scale == pytest.approx(compare(trained, encoder, samples).scale, rel=1e-4)


def test_every_row_is_in_one_batch_and_sizes_change():
    covered = [row for rows in batches(29) for row in range(29)[rows]]
    assert covered == list(range(29))
    assert len({rows.stop - rows.start for rows in batches(29)}) >= 3


def quarter(colour: str) -> Image.Image:
    picture = Image.new("RGB", (64, 64), PALETTE["white"])
    picture.paste(PALETTE[colour], (0, 0, 32, 32))
    return picture


def test_agreement_by_hand():
    """A second model that takes red for blue decides otherwise on what is red, and only there."""
    cases = [
        case_of(quarter(colour), f"a {colour} square", f"a {wrong} square", f"{colour} square")
        for colour, wrong in (("red", "green"), ("green", "yellow"), ("blue", "green"), ("yellow", "black"))
    ]
    sees, blind = fake_encoder(), fake_encoder()

    class RedIsBlue:
        provider = "fake"

        def run(self, inputs, outputs=None):
            pixels = inputs["pixels"].copy()
            is_red = pixels[:, 0].mean(axis=(1, 2)) - pixels[:, 1].mean(axis=(1, 2)) > 0.2
            pixels[is_red] = pixels[is_red][:, ::-1]
            return sees.engines["image_encoder"].run({"pixels": pixels}, outputs)

    blind.engines["image_encoder"] = RedIsBlue()
    same = agreement(sees, fake_encoder(), cases)
    assert (same.top_hit, same.flagged_word, same.best_box) == (1, 1, 1)
    assert agreement(sees, blind, cases).best_box == 0.75


def test_words_that_tie_are_as_good_and_others_are_not():
    reference = {0: 0.4000, 4: 0.3995, 9: 0.39}
    assert is_same_choice(reference, {0: 0.1, 4: 0.2, 9: 0.1})
    assert not is_same_choice(reference, {0: 0.1, 4: 0.1, 9: 0.2})
    assert is_same_choice({}, {})
    assert not is_same_choice(reference, {})
