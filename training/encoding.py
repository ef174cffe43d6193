"""The encoders' pass over a step's pairs, in one go or in parts that fit into memory.

In parts, the encoders run twice: once without gradient for the features, and, when the objectives' gradients of the
features are known, once more part by part to bring them to the weights. Every objective, the contrastive ones too, sees
the features of the whole batch, so loss and gradient are those of the whole batch. Divided is the memory of the
encoders alone; what an objective asks of the model itself, such as fusion, is over the whole batch.

Paper: Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (GradCache; Gao et al., 2021), section 3.
Differs from the paper: tokens are kept as well as embeddings, so objectives over tokens need no pass of their own.
"""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.pair_model import PairModel


class PairsEncoding:
    """The features of a batch. After the backward pass of the loss, `backward` brings it through the encoders."""

    def __init__(
        self, model: PairModel, batch: PairBatch, *, parts: int, autocast: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._model = model
        self._batch = batch
        self._autocast = autocast
        self._rows = [slice(0, len(batch.ids))] if parts == 1 else _equal(len(batch.ids), parts)
        self._states: list[_RandomState] = []
        if parts == 1:
            self.features = self._encode(self._rows[0])
        else:
            self.features = self._encode_without_gradient()

    def backward(self) -> None:
        """Bring the features' gradients to the weights; nothing to do for a batch in one part."""
        if len(self._rows) == 1:
            return
        after = _RandomState.now()
        for number, (rows, state) in enumerate(zip(self._rows, self._states, strict=True)):
            state.restore()  # what was dropped the first time is dropped again
            again = self._encode(rows)
            outputs, gradients = [], []
            for name, whole in _tensors(self.features).items():
                output = getattr(again, name)
                is_shared = whole.ndim == 0  # the temperature: its gradient goes through one of the parts
                if whole.grad is None or not output.requires_grad or (is_shared and number > 0):
                    continue
                outputs.append(output)
                gradients.append(whole.grad if is_shared else whole.grad[rows])
            if outputs:
                torch.autograd.backward(outputs, gradients)
        after.restore()

    def _encode(self, rows: slice) -> PairFeatures:
        with self._autocast():
            return self._model.encode_pairs(self._batch.pixels[rows], self._batch.ids[rows], self._batch.mask[rows])

    @torch.no_grad()
    def _encode_without_gradient(self) -> PairFeatures:
        parts: list[dict[str, Tensor]] = []
        for rows in self._rows:
            self._states.append(_RandomState.now())
            parts.append(_tensors(self._encode(rows)))
        joined: dict[str, Tensor] = {}
        for name, first in parts[0].items():
            tensor = first.clone() if first.ndim == 0 else torch.cat([part[name] for part in parts])
            joined[name] = tensor.requires_grad_(tensor.is_floating_point())
        return PairFeatures(**joined)  # type: ignore[arg-type]  # what is no tensor keeps its default


@dataclasses.dataclass(frozen=True, slots=True)
class _RandomState:
    """Torch's global generators at a moment."""

    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls) -> "_RandomState":
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state() if torch.cuda.is_available() else None)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)


def _tensors(features: PairFeatures) -> dict[str, Tensor]:
    values = {field.name: getattr(features, field.name) for field in dataclasses.fields(features)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _equal(count: int, parts: int) -> list[slice]:
    size = count // parts
    return [slice(at, at + size) for at in range(0, count, size)]
