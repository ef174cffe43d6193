"""The weighted sum: weights, warm-up, state."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tests.numerics.small import small_batch, small_model
from training.data.batch import PairBatch
from training.model import PairFeatures, PairModel
from training.objectives import ComposedObjective, ItcConfig, WeightedObjective
from training.objectives.base import ObjectiveOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsConfig:
    value: float

    def build(self, model: PairModel) -> "Counts":
        return Counts(self.value)


class Counts:
    """An objective with state: how often it was advanced."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.advanced = torch.zeros(())

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        return ObjectiveOutput(loss=torch.tensor(self.value), report={"seen": torch.tensor(1.0)})

    def advance(self, model: PairModel, features: PairFeatures) -> None:
        self.advanced += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"advanced": self.advanced}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.advanced = state["advanced"]


def test_weights_over_steps():
    term = WeightedObjective(name="x", objective=ItcConfig(), weight=2.0, start_step=3, warmup_steps=4)
    assert [term.weight_at(step) for step in range(8)] == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.0]


def test_the_sum_and_its_parts():
    model, batch = small_model(), small_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    composed = ComposedObjective(
        (
            WeightedObjective(name="a", objective=CountsConfig(value=2.0), weight=0.5),
            WeightedObjective(name="b", objective=CountsConfig(value=3.0), weight=2.0),
            WeightedObjective(name="later", objective=CountsConfig(value=9.0), start_step=5),
        ),
        model,
    )
    output = composed(model, batch, features, step=4)
    assert output.loss.item() == 7.0
    assert {name: value.item() for name, value in output.parts.items()} == {"a": 2.0, "b": 3.0}
    assert set(output.report) == {"a/seen", "b/seen"}


def test_state_is_advanced_saved_and_restored():
    model, batch = small_model(), small_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    terms = (
        WeightedObjective(name="plain", objective=ItcConfig()),
        WeightedObjective(name="counts", objective=CountsConfig(value=0.0)),
    )
    composed = ComposedObjective(terms, model)
    composed.advance(model, features)
    composed.advance(model, features)
    assert {name: value.item() for name, value in composed.state_dict().items()} == {"counts/advanced": 2.0}
    other = ComposedObjective(terms, model)
    other.load_state_dict(composed.state_dict())
    assert other.state_dict() == composed.state_dict()


def test_two_terms_of_one_name_are_refused():
    terms = (WeightedObjective(name="x", objective=ItcConfig()), WeightedObjective(name="x", objective=ItcConfig()))
    with pytest.raises(ValueError, match="same name"):
        ComposedObjective(terms, small_model())
