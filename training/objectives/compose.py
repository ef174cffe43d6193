"""A weighted sum over an explicit tuple of objectives; the weights and their warm-up are data in the recipe."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.momentum import MomentumConfig, MomentumModel
from training.model.pair_model import PairModel
from training.objectives.base import MomentumObjectiveConfig, Objective, ObjectiveConfig, StatefulObjective

_MOMENTUM = "momentum"  # where the state of the momentum model lies; no objective may be called so
_DICTIONARY = "dictionary"  # what the visual dictionary's numbers are reported under; likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedObjective:
    """One term of the sum."""

    name: str  # in reports and in the message when the loss is not finite
    objective: ObjectiveConfig | MomentumObjectiveConfig
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
    """The weighted sum of a tuple of objectives, and the momentum model that they share."""

    def __init__(self, terms: Sequence[WeightedObjective], model: PairModel, *, num_steps: int | None = None) -> None:
        """Build every term.

        Args:
            terms: the sum.
            model: what they are computed on.
            num_steps: how long the run will be, where that is known: a momentum model too slow for it is warned of.

        Raises:
            ValueError: two terms have the same name or want different momentum models, or one cannot be built.
        """
        taken = [_MOMENTUM, _DICTIONARY]
        names = [*taken, *(term.name for term in terms)]
        if len(set(names)) != len(names):
            raise ValueError(
                f"two objectives have the same name, or one is called {' or '.join(map(repr, taken))}: "
                f"{names[len(taken) :]}"
            )
        self.momentum = _momentum(terms, model)
        if self.momentum is not None and num_steps is not None:
            self.momentum.warn_of_short_run(num_steps)
        self.terms: tuple[tuple[WeightedObjective, Objective], ...] = tuple(
            (term, self._build(term.objective, model)) for term in terms
        )

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures, *, step: int) -> ComposedOutput:
        """Compute every term whose weight is not zero at this step, and their weighted sum."""
        active = [(term, objective) for term, objective in self.terms if term.weight_at(step) > 0.0]
        if batch.edits is not None and any(_uses_edits(term) for term, _ in active):
            features = dataclasses.replace(features, edited=model.encode_texts(batch.edits.ids, batch.edits.mask))
        total = torch.zeros((), device=features.image_embedding.device)
        parts: dict[str, Tensor] = {}
        report: dict[str, Tensor] = {}
        for term, objective in active:
            output = objective(model, batch, features)
            total = total + term.weight_at(step) * output.loss
            parts[term.name] = output.loss.detach()
            report |= {f"{term.name}/{key}": value for key, value in output.report.items()}
        if model.visual_dictionary is not None:
            report |= {f"{_DICTIONARY}/{key}": value for key, value in model.visual_dictionary.report().items()}
        return ComposedOutput(loss=total, parts=parts, report=report)

    def advance(self, model: PairModel, features: PairFeatures) -> None:
        """Move on the state of the objectives that have one, the visual dictionary, then the momentum model."""
        for _, objective in self._stateful():
            objective.advance(model, features)
        if model.visual_dictionary is not None and features.continuous_tokens is not None:
            model.visual_dictionary.advance(features.continuous_tokens)
        if self.momentum is not None:
            self.momentum.advance(model)

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the momentum model and of every objective that has one, keyed `name/key`."""
        return {f"{name}/{key}": value for name, part in self._keepers() for key, value in part.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Give each its part of the state back."""
        for name, part in self._keepers():
            prefix = f"{name}/"
            part.load_state_dict(
                {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            )

    def _build(self, config: ObjectiveConfig | MomentumObjectiveConfig, model: PairModel) -> Objective:
        if isinstance(config, MomentumObjectiveConfig):
            return config.build(model, self.momentum if config.momentum is not None else None)
        return config.build(model)

    def _stateful(self) -> list[tuple[str, StatefulObjective]]:
        return [(term.name, objective) for term, objective in self.terms if isinstance(objective, StatefulObjective)]

    def _keepers(self) -> list[tuple[str, StatefulObjective | MomentumModel]]:
        momentum = [(_MOMENTUM, self.momentum)] if self.momentum is not None else []
        return [*momentum, *self._stateful()]


def _momentum(terms: Sequence[WeightedObjective], model: PairModel) -> MomentumModel | None:
    """The one copy that all terms share, where any asks for it."""
    wanted: dict[MomentumConfig, str] = {}
    for term in terms:
        if isinstance(term.objective, MomentumObjectiveConfig) and term.objective.momentum is not None:
            wanted.setdefault(term.objective.momentum, term.name)
    if len(wanted) > 1:
        raise ValueError(
            f"the objectives {', '.join(wanted.values())} want different momentum models; give them equal configs: "
            "one copy serves the whole run"
        )
    return MomentumModel(model, next(iter(wanted))) if wanted else None


def _uses_edits(term: WeightedObjective) -> bool:
    return bool(getattr(term.objective, "use_edits", False))
