"""Grounding with the two encoders alone: the Shapley interaction of each patch with the phrase, over masked pictures.

A picture's patches and the phrase are the players of a game: v(S) is the cosine of the phrase with the picture whose
patches outside S are painted over at the encoder's input, and 0 without the phrase. The interaction of a patch i with
the phrase t is what i adds to a coalition because t is there,

    I({i, t}) = E_S [ v(S+i+t) - v(S+t) - v(S+i) + v(S) ],    S drawn as for a Shapley value,

which in this game is the Shapley value of i among the patches. It is fitted to sampled coalitions by least squares
(Kernel SHAP). A cosine is linear in the embedding of the phrase, so embeddings of masked pictures are what is fitted:
each patch gets a vector whose product with any phrase is their interaction, and the passes serve all phrases at once.

Paper: LOUPE (2022), the token-level game; Kernel SHAP: Lundberg and Lee (2017), section 4.1. Differs from the papers:
it finds, and trains nothing; patches are masked at the input and not as tokens; a slight ridge; players are at most 8
on a side. The interaction of a region's patches with each other, which trains LOUPE's regions, does not find things
here: patches of one thing stand in for each other, so that the right region's is below zero (docs/grounding.md).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runtime.encoder import Encoder, Floats, TextFeatures
from runtime.grounding.boxes import boxes_of, scaled
from runtime.grounding.found import RawGrounding

Bools = NDArray[np.bool_]

Game = Callable[[Bools], NDArray[np.float64]]
"""Values of coalitions: [coalitions, players] gives [coalitions, dim]."""

DEFAULT_BUDGET = 64
"""Masked pictures that are looked at where the caller names no number."""

LEAST_BUDGET = 16
"""Fewer say nothing."""

_MOST_PLAYERS_A_SIDE = 8
_RIDGE = 1.0


def ground_by_interaction(
    encoder: Encoder, pixels: Floats, texts: TextFeatures, *, budget: int = DEFAULT_BUDGET, seed: int = 0
) -> list[RawGrounding]:
    """Find each phrase in one picture by the interaction of its patches with it.

    A box's raw score is the sum of its patches' interactions: how much of the whole picture's cosine lies in it.

    Args:
        encoder: the bundle.
        pixels: the encoder's input for the picture, [3, size, size].
        texts: the phrases.
        budget: masked pictures that the image encoder looks at, for all phrases together.
        seed: of the coalitions; the same gives the same answer.

    Raises:
        EngineError: the engine failed.
    """
    image = encoder.manifest.image
    rows, columns = (min(side, _MOST_PLAYERS_A_SIDE) for side in (image.patch_rows, image.patch_columns))
    game = _masked_picture(encoder, pixels, rows, columns)
    fitted = fit_players(game, rows * columns, passes=budget, rng=np.random.default_rng(seed))
    found = []
    for values in np.asarray(texts.embedding, np.float64) @ fitted.T:
        warm = np.asarray(np.maximum(values, 0), np.float32).reshape(rows, columns)
        parts = boxes_of(scaled(warm)) if warm.max() > 0 else []
        found.append(
            RawGrounding(
                boxes=[box for box, _ in parts],
                raw=[float((warm * share).sum()) for _, share in parts],
                heat=_over_patches(scaled(warm), image.patch_rows, image.patch_columns),
            )
        )
    return found


def fit_players(
    game: Game, players: int, *, passes: int, rng: np.random.Generator, ridge: float = _RIDGE
) -> NDArray[np.float64]:
    """Fit a game by the sum of its players, as Kernel SHAP does: an estimate of their Shapley values.

    Coalitions are drawn with the kernel's share of their size, each followed by the rest of the players. The values of
    none and of all are kept exactly. Where there are no more coalitions than may be asked for, all of them are.

    Args:
        game: what is fitted.
        players: how many there are, at least 2.
        passes: how many coalitions are asked for, none and all among them.
        rng: of the coalitions.
        ridge: how much players are drawn towards equal shares; 0 with all coalitions gives the Shapley values.

    Returns:
        [players, dim].
    """
    ends = game(np.array([[False] * players, [True] * players]))
    whole = ends[1] - ends[0]
    coalitions, weights = _coalitions(players, max(2, passes - 2), rng)
    # What the players sum to is known, so the fit is of what is left of an equal share for each.
    share = coalitions.mean(axis=1, keepdims=True)
    centred, left = coalitions - share, game(coalitions) - ends[0] - share * whole
    weighed = (centred * weights[:, None]).T
    system = weighed @ centred + ridge * weights.sum() / players * np.eye(players)
    # Every row sums to zero: so does the fit, which the added ones say of the system without changing its solution.
    fitted = np.linalg.solve(system + np.ones((players, players)) * weights.sum() / players, weighed @ left)
    return np.asarray(fitted + whole / players)


def _coalitions(players: int, count: int, rng: np.random.Generator) -> tuple[Bools, NDArray[np.float64]]:
    """Coalitions, neither none nor all, with their weights in the fit."""
    sizes = np.arange(1, players)
    kernel = (players - 1) / (sizes * (players - sizes))
    if players < 16 and 2**players - 2 <= count:
        numbers = np.arange(1, 2**players - 1)
        every = (numbers[:, None] >> np.arange(players)) % 2 == 1
        of_size = np.bincount(every.sum(axis=1), minlength=players)
        size = every.sum(axis=1)
        return every, kernel[size - 1] / of_size[size]
    drawn = rng.choice(sizes, size=(count + 1) // 2, p=kernel / kernel.sum())
    found = np.zeros((2 * len(drawn), players), bool)
    for at, size in enumerate(drawn):
        found[2 * at, rng.permutation(players)[:size]] = True
        found[2 * at + 1] = ~found[2 * at]
    return found[:count], np.ones(count)


def _masked_picture(encoder: Encoder, pixels: Floats, rows: int, columns: int) -> Game:
    """The game of a picture: embeddings of it with the players outside a coalition painted in its mean colour."""
    patches = encoder.manifest.image.patch_rows, encoder.manifest.image.patch_columns
    down = _whole_patches(patches[0], rows) * pixels.shape[1] // patches[0]
    across = _whole_patches(patches[1], columns) * pixels.shape[2] // patches[1]
    paint = pixels.mean(axis=(1, 2), keepdims=True)

    def game(coalitions: Bools) -> NDArray[np.float64]:
        grids = coalitions.reshape(-1, rows, columns)
        values = []
        for at in range(0, len(grids), _AT_ONCE):
            seen = np.repeat(np.repeat(grids[at : at + _AT_ONCE], np.diff(down), axis=1), np.diff(across), axis=2)
            masked = np.where(seen[:, None], pixels, paint).astype(np.float32)
            values.append(encoder.embed_pixels(list(masked)).embedding)
        return np.asarray(np.concatenate(values), np.float64)

    return game


_AT_ONCE = 64  # masked pictures that are held at the same time


def _whole_patches(patches: int, players: int) -> NDArray[np.int64]:
    """The patches at which players begin and end along a side: [players + 1]."""
    return np.asarray(np.round(np.arange(players + 1) * patches / players), np.int64)


def _over_patches(heat: Floats, rows: int, columns: int) -> Floats:
    """Lay a map of players over the patches."""
    down, across = (_whole_patches(side, own) for side, own in zip((rows, columns), heat.shape, strict=True))
    return np.repeat(np.repeat(heat, np.diff(down), axis=0), np.diff(across), axis=1)
