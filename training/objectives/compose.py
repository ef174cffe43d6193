"""A weighted sum over an explicit tuple of objectives; the weights and their warm-up are data in the recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.pair_model import PairModel
from training.objectives.base import Objective, ObjectiveConfig, StatefulObjective


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedObjective:
    """One term of the sum."""

    name: str  # in reports and in the message when the loss is not finite
    objective: ObjectiveConfig
    weight: float = 1.0
    start_step: int = 0  # not computed at all before this step
    warmup_steps: int = 0  # the weight rises linearly over so many steps from start_step

    def weight_at(self, step: int) -> float:
        """The weight at a step, counted from 0."""
        if step < self.start_step:
            return 0.0
        if self.warmup_steps == 0:
            return self.weight
        return self.weight * min(1.0, (step - self.start_step + 1) / self.warmup_steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedOutput:
    """The sum and its parts."""

    loss: Float[Tensor, ""]
    parts: Mapping[str, Float[Tensor, ""]]  # each objective's own loss, unweighted, detached
    report: Mapping[str, Float[Tensor, ""]]  # "<objective>/<number>"


class ComposedObjective:
    """The weighted sum of a tuple of objectives."""

    def __init__(self, terms: Sequence[WeightedObjective], model: PairModel) -> None:
        names = [term.name for term in terms]
        if len(set(names)) != len(names):
            raise ValueError(f"two objectives have the same name: {names}")
        self.terms: tuple[tuple[WeightedObjective, Objective], ...] = tuple(
            (term, term.objective.build(model)) for term in terms
        )

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures, *, step: int) -> ComposedOutput:
        """Compute every term whose weight is not zero at this step, and their weighted sum."""
        total = torch.zeros((), device=features.image_embedding.device)
        parts: dict[str, Tensor] = {}
        report: dict[str, Tensor] = {}
        for term, objective in self.terms:
            weight = term.weight_at(step)
            if weight == 0.0:
                continue
            output = objective(model, batch, features)
            total = total + weight * output.loss
            parts[term.name] = output.loss.detach()
            report |= {f"{term.name}/{key}": value for key, value in output.report.items()}
        return ComposedOutput(loss=total, parts=parts, report=report)

    def advance(self, model: PairModel, features: PairFeatures) -> None:
        """Move on the state of the objectives that have one."""
        for _, objective in self._stateful():
            objective.advance(model, features)

    def state_dict(self) -> dict[str, Tensor]:
        """The state of every objective that has one, keyed `name/key`."""
        return {
            f"{name}/{key}": value
            for name, objective in self._stateful()
            for key, value in objective.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Give each objective its part of the state back."""
        for name, objective in self._stateful():
            prefix = f"{name}/"
            objective.load_state_dict(
                {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            )

    def _stateful(self) -> list[tuple[str, StatefulObjective]]:
        return [(term.name, objective) for term, objective in self.terms if isinstance(objective, StatefulObjective)]
