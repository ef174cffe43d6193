"""Queue: embeddings of past pairs, more wrong answers than a batch holds.

Paper: MoCo (He et al., 2020), section 3.1, and ALBEF (Li et al., 2021), section 3.2.
Differs from the papers: it starts empty instead of with random vectors, and each entry keeps the key of its caption, so
that an equal caption in the queue is a right answer too.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_log = logging.getLogger(__name__)

_MOST_REPEATED = 1 / 8
"""A queue as long as a quarter of the distinct captions repeats about this share of its captions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Pairs that others are compared with: row j of everything is pair j."""

    image: Float[Tensor, "candidates dim"]  # unit length
    text: Float[Tensor, "candidates dim"]  # unit length
    caption_keys: Int[Tensor, " candidates"]


class PairQueue:
    """The newest pairs of past steps, at most `size` of them."""

    def __init__(self, size: int, dim: int, *, device: torch.device) -> None:
        self.size = size
        self.image = torch.zeros(size, dim, device=device)
        self.text = torch.zeros(size, dim, device=device)
        self.caption_keys = torch.zeros(size, dtype=torch.int64, device=device)
        self.num_pushed = 0
        self._held: list[Candidates] = []

    @property
    def num_filled(self) -> int:
        """How many pairs it holds."""
        return min(self.num_pushed, self.size)

    def behind(self, newest: Candidates) -> Candidates:
        """The newest pairs, then those in the queue; the newest are held until `advance`."""
        self._held.append(newest)
        filled = self.num_filled
        return Candidates(
            image=torch.cat([newest.image, self.image[:filled]]),
            text=torch.cat([newest.text, self.text[:filled]]),
            caption_keys=torch.cat([newest.caption_keys, self.caption_keys[:filled]]),
        )

    def advance(self) -> None:
        """Let the held pairs of the step in, in place of the oldest.

        Raises:
            ValueError: the queue cannot be cut into steps: its size is not a multiple of the pairs of a step.
        """
        held, self._held = self._held, []
        count = sum(len(part.caption_keys) for part in held)
        if count == 0:
            return
        if self.size % count:
            raise ValueError(
                f"the queue's {self.size} places are not a multiple of the {count} pairs of a step (over all "
                f"processes); set queue_size to {max(1, self.size // count) * count}"
            )
        start = self.num_pushed % self.size
        place = slice(start, start + count)
        self.image[place] = torch.cat([part.image for part in held])
        self.text[place] = torch.cat([part.text for part in held])
        self.caption_keys[place] = torch.cat([part.caption_keys for part in held])
        self.num_pushed += count
        if self.num_pushed == self.size:
            self._warn_of_repeats()

    def state_dict(self) -> dict[str, Tensor]:
        """The pairs, their keys and how many ever came."""
        return {
            "image": self.image,
            "text": self.text,
            "caption_keys": self.caption_keys,
            "num_pushed": torch.tensor(self.num_pushed),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        for name in ("image", "text", "caption_keys"):
            getattr(self, name).copy_(state[name])
        self.num_pushed = int(state["num_pushed"])
        self._held = []

    def _warn_of_repeats(self) -> None:
        repeated = 1 - len(torch.unique(self.caption_keys)) / self.size
        if repeated > _MOST_REPEATED:
            _log.warning(
                "%.0f %% of the queue's %d captions repeat another one: it is longer than a quarter of the distinct "
                "captions; a shorter queue_size leaves more wrong answers that are truly wrong",
                100 * repeated,
                self.size,
            )
