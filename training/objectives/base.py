"""What an objective is: a function of the model, a batch and the features they share.

An objective that needs another pass (an edited text, a masked picture) asks the model for it, so the cost shows in its
own file. Weights that are learned are heads of the model; state that is not learned (a momentum copy, a queue) is
advanced by the trainer after the optimizer's step, never while the loss is computed. The momentum model is one of
those: it is built once and handed to every objective whose config asks for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.momentum import MomentumConfig, MomentumModel
from training.model.pair_model import PairModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveOutput:
    """The result of one objective on one batch."""

    loss: Float[Tensor, ""]  # differentiated; a mean over pairs
    report: Mapping[str, Float[Tensor, ""]]  # detached numbers worth reading; never summed


@runtime_checkable
class Objective(Protocol):
    """A loss over a batch of matching pairs."""

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss and what is worth reporting about it."""
        ...


@runtime_checkable
class StatefulObjective(Protocol):
    """An objective with state of its own; checkpoints carry what `state_dict` gives."""

    def advance(self, model: PairModel, features: PairFeatures) -> None:
        """Move the state on; called once after each optimizer step, without gradients."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """The state, by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> object:
        """Take back what `state_dict` gave."""
        ...


@runtime_checkable
class ObjectiveConfig(Protocol):
    """The description of an objective; `build` makes it."""

    def build(self, model: PairModel) -> Objective:
        """The objective for this model."""
        ...


@runtime_checkable
class MomentumObjectiveConfig(Protocol):
    """The description of an objective that can ask a momentum model; one copy serves all objectives of a run."""

    @property
    def momentum(self) -> MomentumConfig | None:
        """How the copy moves; None: none is asked for."""
        ...

    def build(self, model: PairModel, momentum: MomentumModel | None = None) -> Objective:
        """The objective for this model, with the copy exactly when `momentum` is configured."""
        ...
