"""Words with how far they are seen: what heads above a trained dual encoder begin with.

A fusion encoder from nothing must learn which words go with which patches, which took the dual encoder most of its
training; from ten thousand pairs it did not begin to (docs/experiments.md). So each word is given what the joint space
says already: how alike it is to the patch most like it, to the patches that it looks at, and to all of them.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.model.transformer import LAYER_NORM_EPS, initialise

_SHARPNESS = 20.0  # what cosines are multiplied by before the softmax over patches
_GAIN = 5.0  # cosines within a picture differ by a tenth or two


class AlignedWords(nn.Module):
    """Word tokens that end with their embeddings, and patches' embeddings, to tokens of another width."""

    def __init__(self, text_width: int, joint_width: int, members: int, width: int) -> None:
        super().__init__()
        self.members = members
        self.own = text_width - joint_width
        self.fit = nn.Sequential(nn.LayerNorm(self.own, eps=LAYER_NORM_EPS), nn.Linear(self.own, width))
        self.see = nn.Linear(3 * members, width)
        initialise(self)

    def forward(
        self,
        words: Float[Tensor, "texts subwords text_width"],
        patches: Float[Tensor, "texts patches joint_width"],
    ) -> Float[Tensor, "texts subwords width"]:
        """The tokens, in the same order."""
        out: Tensor = self.fit(words[..., : self.own]) + self.see(_GAIN * self.seen(words[..., self.own :], patches))
        return out

    def seen(
        self,
        words: Float[Tensor, "texts subwords joint_width"],
        patches: Float[Tensor, "texts patches joint_width"],
    ) -> Float[Tensor, "texts subwords seen"]:
        """By each member of the joint space, a word's cosine with its best patch, those it looks at, and all."""
        slices = [part.reshape(*part.shape[:2], self.members, -1).transpose(1, 2) for part in (words, patches)]
        cosine = self.members * (slices[0] @ slices[1].transpose(2, 3)).float()  # [texts, members, subwords, patches]
        looked = (torch.softmax(_SHARPNESS * cosine, dim=-1) * cosine).sum(dim=-1)
        found = torch.cat([cosine.amax(dim=-1), looked, cosine.mean(dim=-1)], dim=1)
        return found.transpose(1, 2)
