"""Visual dictionary: the words that pictures are written in, each the mean of the patch tokens that are nearest to it.

Paper: NAS (AAAI 2025), the visual dictionary, which is that of SOHO (Huang et al., CVPR 2021, 3.2): v_i a patch token,
E_j a vector of the dictionary, sg the gradient's stop,

    h_i = argmin_j ||v_i - E_j||^2                   the code of a patch
    q_i = v_i + s sg(E_{h_i} - v_i)                  what fusion sees; the gradient of v_i is the identity
    n_j <- g n_j + (1 - g) |{i : h_i = j}|           how many patches have the code, over all processes
    M_j <- g M_j + (1 - g) sum_{i : h_i = j} v_i     their sum
    n~_j = (n_j + eps) / (sum_j n_j + K eps) sum_j n_j
    E_j <- M_j / n~_j

Differs from the papers: s, here `share`, is 1 in SOHO, which leaves nothing of a patch but its code; the embedding is
made of the tokens as they were before; the dictionary moves after the optimizer's step; it begins as the k-means of one
step's patches, and a code that hardly any patch has begins anew at a patch drawn at random. K, g, s and when it begins
could not be read in NAS and are settings. SOHO has neither commitment nor codebook loss, and so has this.

k-means is written here and not scikit-learn's: it runs where the features are, by the very look-up that it prepares,
and asks for no package that training needs for nothing else.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from training.distributed import own_rows, sum_over_processes, world_size

_ROUNDS = 20
_REVIVED = 2.0  # times the count under which a code is dead: what a revived one begins with, to live on for a while


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualDictionaryConfig:
    """How many codes there are, and how they move."""

    size: int = 256  # K
    share: float = 0.25  # s: how much of a patch token fusion gets as its code; 1: nothing else, 0: it stays as it is
    decay: float = 0.9  # g: of counts and sums at each step; a slow dictionary is left behind by moving features
    smoothing: float = 1e-5  # eps
    start_step: int = 500  # steps of the run after which it begins, from the patches of that step
    started_on: int = 50_000  # patches that k-means sees at most, of all processes
    dead_share: float = 0.1  # of the mean count: a code with fewer patches is dead

    def build(self, width: int) -> "VisualDictionary":
        """A dictionary that has not begun."""
        return VisualDictionary(self, width)


class Looked(NamedTuple):
    """What a dictionary says of patch tokens."""

    tokens: Float[Tensor, "images patches width"]  # for the fusion encoder
    codes: Int[Tensor, "images patches"]


class VisualDictionary(nn.Module):
    """K vectors that no gradient moves; until they begin, tokens pass as they are and every code is 0."""

    def __init__(self, config: VisualDictionaryConfig, width: int) -> None:
        """Begin empty.

        Raises:
            ValueError: a number is out of its range.
        """
        super().__init__()
        if config.size < 2 or not 0.0 <= config.share <= 1.0 or not 0.0 <= config.decay < 1.0:
            raise ValueError(
                f"a visual dictionary needs at least 2 codes, a share in [0, 1] and a decay in [0, 1), not "
                f"{config.size}, {config.share} and {config.decay}"
            )
        self.config = config
        self.register_buffer("vectors", torch.zeros(config.size, width))
        self.register_buffer("counts", torch.zeros(config.size))
        self.register_buffer("sums", torch.zeros(config.size, width))
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("has_begun", torch.zeros((), dtype=torch.bool))
        self.vectors: Tensor
        self.counts: Tensor
        self.sums: Tensor
        self.num_steps: Tensor
        self.has_begun: Tensor

    def forward(self, tokens: Float[Tensor, "images patches width"]) -> Looked:
        """The tokens moved towards their codes, and the codes."""
        codes = nearest(tokens.detach(), self.vectors)
        share = self.config.share * self.has_begun
        moved = tokens + (share * (self.vectors[codes] - tokens.detach())).to(tokens.dtype)
        return Looked(tokens=moved, codes=codes)

    @torch.no_grad()
    def advance(self, tokens: Float[Tensor, "images patches width"]) -> None:
        """Move on by the patch tokens of a step, as they were before the look-up; every process calls it together."""
        patches = tokens.detach().float().flatten(0, 1)
        self.num_steps += 1
        if bool(self.has_begun):
            self._follow(patches)
        elif self.num_steps >= self.config.start_step:
            self._begin(patches)

    @torch.no_grad()
    def report(self) -> dict[str, Float[Tensor, ""]]:
        """Perplexity of the codes, 1 to K, and the share of codes that are dead; zeros before it begins."""
        shares = self.counts / self.counts.sum().clamp(min=self.config.smoothing)
        return {
            "perplexity": torch.exp(torch.special.entr(shares).sum()) * self.has_begun,
            "dead": self._dead().float().mean() * self.has_begun,
        }

    def neighbours(self) -> Float[Tensor, "codes codes"]:
        """Cosine of every code with every other; minus infinity with itself and with what is dead."""
        unit = nn.functional.normalize(self.vectors, dim=-1)
        cosine = unit @ unit.T
        cosine.masked_fill_(self._dead()[None, :], -torch.inf)
        return cosine.fill_diagonal_(-torch.inf)

    def _dead(self) -> Tensor:
        return self.counts < self.config.dead_share * self.counts.mean()

    def _begin(self, patches: Float[Tensor, "rows width"]) -> None:
        drawn = _drawn(patches, self.config.started_on, seed=int(self.num_steps))
        if len(drawn) < self.config.size:
            raise ValueError(
                f"k-means needs {self.config.size} patches to begin a dictionary of as many codes, and a step has "
                f"{len(drawn)}: give VisualDictionaryConfig a smaller size, or the recipe larger batches"
            )
        self.vectors.copy_(_same_everywhere(k_means(drawn, self.config.size, seed=int(self.num_steps))))
        shares = torch.bincount(nearest(drawn, self.vectors), minlength=self.config.size).float() / len(drawn)
        self.counts.copy_(shares * (len(patches) * world_size()))
        self.sums.copy_(self.vectors * self.counts[:, None])
        self.has_begun.fill_(True)

    def _follow(self, patches: Float[Tensor, "rows width"]) -> None:
        codes = nearest(patches, self.vectors)
        counts = torch.bincount(codes, minlength=self.config.size).float()
        sums = torch.zeros_like(self.sums).index_add_(0, codes, patches)
        self.counts.lerp_(sum_over_processes(counts), 1 - self.config.decay)
        self.sums.lerp_(sum_over_processes(sums), 1 - self.config.decay)
        self._revive(patches)
        self.vectors.copy_(self.sums / smoothed(self.counts, self.config.smoothing)[:, None])

    def _revive(self, patches: Float[Tensor, "rows width"]) -> None:
        """Let dead codes begin anew at patches of this step, the same ones in every process."""
        dead = self._dead().nonzero().squeeze(1)
        if len(dead) == 0:
            return
        found = _drawn(patches, len(dead), seed=int(self.num_steps))
        dead = dead[: len(found)]
        self.counts[dead] = _REVIVED * self.config.dead_share * self.counts.mean()
        self.sums[dead] = found * self.counts[dead][:, None]


def nearest(tokens: Float[Tensor, "*rows width"], vectors: Float[Tensor, "codes width"]) -> Int[Tensor, "*rows"]:
    """The number of the nearest vector of each token; of equally near ones the first.

    The token's own square is the same for all and left out, so this is a matrix product, also in exported graphs.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        distance = vectors.square().sum(dim=-1) - 2 * tokens.float() @ vectors.T
        return distance.argmin(dim=-1)


def smoothed(counts: Float[Tensor, " codes"], smoothing: float) -> Float[Tensor, " codes"]:
    """Counts with the same sum, none of which is zero (Laplace smoothing).

    Paper: SOHO (2021), the update of its dictionary, after VQ-VAE (van den Oord et al., 2017), appendix A.1.
    """
    total = counts.sum()
    return (counts + smoothing) / (total + len(counts) * smoothing) * total


def k_means(patches: Float[Tensor, "rows width"], num_codes: int, *, seed: int) -> Float[Tensor, "codes width"]:
    """Lloyd's algorithm from a k-means++ start; an empty cluster keeps its centre.

    Paper: k-means++ (Arthur and Vassilvitskii, 2007), section 2.
    """
    generator = torch.Generator().manual_seed(seed)
    first = int(torch.randint(len(patches), (1,), generator=generator))
    centres = [patches[first]]
    away = (patches - centres[0]).square().sum(dim=-1)
    for draw in torch.rand(num_codes - 1, generator=generator).tolist():
        reached = away.double().cumsum(dim=0)
        chosen = torch.searchsorted(reached, draw * reached[-1], right=True).clamp(max=len(patches) - 1)
        centres.append(patches[chosen])
        away = torch.minimum(away, (patches - centres[-1]).square().sum(dim=-1))
    vectors = torch.stack(centres)
    for _ in range(_ROUNDS):
        codes = nearest(patches, vectors)
        counts = torch.bincount(codes, minlength=num_codes)
        means = torch.zeros_like(vectors).index_add_(0, codes, patches) / counts.clamp(min=1)[:, None]
        vectors = torch.where(counts[:, None] > 0, means, vectors)
    return vectors


def _drawn(patches: Float[Tensor, "rows width"], count: int, *, seed: int) -> Float[Tensor, "drawn width"]:
    """At most so many of all processes' patches, without repetition: the same in every process, however many."""
    rows = own_rows(len(patches))
    total = len(patches) * world_size()
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count].to(patches.device)
    is_own = (chosen >= rows.start) & (chosen < rows.stop)
    found = patches.new_zeros(len(chosen), patches.shape[1])
    found[is_own] = patches[chosen[is_own] - rows.start]
    return sum_over_processes(found)


def _same_everywhere(vectors: Tensor) -> Tensor:
    """The first process's vectors: sums of others may be rounded otherwise."""
    return sum_over_processes(vectors if own_rows(1).start == 0 else torch.zeros_like(vectors))
