"""Momentum model: a slow copy of the pair model that gives targets calmer than those of a single step.

Paper: MoCo (He et al., 2020), and ALBEF (Li et al., 2021), section 3.2: image encoder, text encoder, fusion encoder,
projections and masked-word head; not the matching head.
Differs from the papers: the copy moves after the optimizer's step, not inside the forward pass, and reads in evaluation
mode (no dropout); whole buffers are copied.

One copy serves every objective of a run that asks for one. Its weights take no gradient, but a graph through them is
kept outside `torch.no_grad`: an objective may pass online features through `model` and learn from what comes out.
"""

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.pair_model import PairModel

_log = logging.getLogger(__name__)

_LEAST_TIME_CONSTANTS = 25
"""A run shorter than so many time constants of the copy is spent chasing its own start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentumConfig:
    """How slowly the copy moves and how much its opinion counts."""

    decay: float = 0.995  # share of the copy that stays at each step; its time constant is 1 / (1 - decay) steps
    soft_share: float = 0.4  # of each target that is the copy's opinion (ALBEF's alpha); the rest is the right answer
    soft_warmup_steps: int = 0  # the share rises linearly from 0 over so many steps (ALBEF: the first epoch)


class MomentumModel:
    """The slow copy of one model, and what it says about the batch of the step."""

    def __init__(self, model: PairModel, config: MomentumConfig) -> None:
        """Copy the model as it is now.

        Raises:
            ValueError: the decay or the share is not in 0..1.
        """
        if not 0.0 <= config.decay < 1.0 or not 0.0 <= config.soft_share <= 1.0:
            raise ValueError(f"decay {config.decay} must be in [0, 1) and soft_share {config.soft_share} in [0, 1]")
        self.config = config
        self.model = _slow_copy(model)
        self.num_steps = 0
        self._last: tuple[PairBatch, PairFeatures] | None = None

    @property
    def soft_share(self) -> float:
        """The share of the targets that is the copy's opinion at this step."""
        warmup = self.config.soft_warmup_steps
        return self.config.soft_share * (min(1.0, self.num_steps / warmup) if warmup else 1.0)

    @torch.no_grad()
    def pairs(self, batch: PairBatch) -> PairFeatures:
        """The copy's features of a batch, without gradients; computed once for all objectives that ask."""
        if self._last is None or self._last[0] is not batch:
            self._last = batch, self.model.encode_pairs(batch.pixels, batch.ids, batch.mask)
        return self._last[1]

    @torch.no_grad()
    def advance(self, model: PairModel) -> None:
        """Move a little towards the model; called once after each optimizer step."""
        online = dict(model.named_parameters()) | dict(model.named_buffers())
        slow = dict(self.model.named_parameters())
        share = 1 - self.config.decay
        # one call for hundreds of small tensors
        torch._foreach_lerp_(list(slow.values()), [_whole(online[name]) for name in slow], share)
        for name, value in self.model.named_buffers():
            value.copy_(_whole(online[name]))
        self.num_steps += 1
        self._last = None

    def warn_of_short_run(self, num_steps: int) -> None:
        """Say loudly when the run is too short for the copy to ever catch up with the model."""
        if num_steps * (1 - self.config.decay) < _LEAST_TIME_CONSTANTS:
            enough = 1 - _LEAST_TIME_CONSTANTS / num_steps if num_steps > _LEAST_TIME_CONSTANTS else 0.0
            _log.warning(
                "momentum %g needs about %.0f steps to forget its start, and the run has %d: targets will lag behind; "
                "set decay to %.3g or less, or leave momentum out",
                self.config.decay,
                _LEAST_TIME_CONSTANTS / (1 - self.config.decay),
                num_steps,
                enough,
            )

    def state_dict(self) -> dict[str, Tensor]:
        """The copy's weights and how often it moved."""
        return {"num_steps": torch.tensor(self.num_steps)} | {
            f"model/{name}": value for name, value in self.model.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self.num_steps = int(state["num_steps"])
        prefix = "model/"
        self.model.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
        self._last = None


def _slow_copy(model: PairModel) -> PairModel:
    slow = copy.deepcopy(model)
    if slow.fusion_encoder is not None:
        del slow.match_head
    return slow.eval().requires_grad_(False)


def _whole(online: Tensor) -> Tensor:
    """The online weight, put together where it is divided over processes: the copy is not."""
    online = online.detach()
    return online.full_tensor() if isinstance(online, DTensor) else online
