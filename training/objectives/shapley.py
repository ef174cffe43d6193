r"""Shapley interaction of teams of players: how much more a team is worth than its members by themselves.

Paper: LOUPE (NeurIPS 2022), sections 3.1 and 3.2, after the Shapley interaction index of game theory (Grabisch and
Roubens, 1999). A team R that plays as one, in the game v of all players X, has the interaction

    I([R]) = phi([R]) - sum over k in R of phi(k)
           = E_c E_{S in X\R, |S| = c} [ v(S + R) - sum over k in R of v(S + k) + (|R| - 1) v(S) ]

with c uniform in 0 .. |X\R|. Zero in a game where every player adds the same to any coalition; so a game must not be
linear in who plays, or there is nothing to learn from (`training.objectives.games`).
Differs from the paper: in a sample, the sum over a team's members is |R| times one member drawn at random, which has
the same mean and needs three values of the game however large the team is. `sampled_values` gives phi([R]) by itself.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Game = Callable[[Tensor], Tensor]
"""From coalitions, bool [games, coalitions, players], to what each is worth, [games, coalitions]."""


MOST_PLAYERS = 16
"""Of a game all of whose coalitions are tried: 65,536 of them."""


def exact_interactions(
    game: Game, teams: Bool[Tensor, "games teams players"], is_player: Bool[Tensor, "games players"]
) -> Float[Tensor, "games teams"]:
    """The interaction of each team, by trying every coalition: for few players.

    Args:
        game: what coalitions are worth; asked once for all of them.
        teams: who is in each; an empty team has no interaction.
        is_player: who takes part; the others are in no coalition.

    Raises:
        ValueError: there are more than `MOST_PLAYERS` players.
    """
    players = teams.shape[2]
    if players > MOST_PLAYERS:
        raise ValueError(f"{players} players have too many coalitions to try; sample, or take {MOST_PLAYERS} at most")
    device = teams.device
    code = torch.arange(2**players, device=device)  # of a coalition: bit k is player k
    bits = (code[:, None] >> torch.arange(players, device=device)) & 1 == 1
    values = game(bits & is_player[:, None]).float()  # [games, coalitions]
    members = teams & is_player[:, None]
    is_apart = ~(bits & (teams | ~is_player[:, None])[:, :, None]).any(dim=-1)  # [games, teams, coalitions]
    whole = code | (members * 2 ** torch.arange(players, device=device)).sum(dim=-1, keepdim=True)
    joined = torch.stack([values[:, code | 1 << player] for player in range(players)], dim=1)
    size = members.sum(dim=-1, keepdim=True).float()
    gains = (
        values[:, None].expand_as(is_apart).gather(2, whole) - members.float() @ joined + (size - 1) * values[:, None]
    )
    weights = _weights(bits.sum(dim=-1), (is_player[:, None] & ~teams).sum(dim=-1))
    return torch.where(size[..., 0] > 0, (gains * weights * is_apart).sum(dim=-1), 0.0)


def _weights(sizes: Int[Tensor, " coalitions"], others: Int[Tensor, "games teams"]) -> Float[Tensor, "g t c"]:
    """How likely each coalition is drawn: one over the number of sizes, and of coalitions of its size."""
    table = torch.zeros(MOST_PLAYERS + 1, MOST_PLAYERS + 1, device=sizes.device)
    for total in range(MOST_PLAYERS + 1):
        for size in range(total + 1):
            table[total, size] = 1 / (total + 1) / math.comb(total, size)
    return table[others[:, :, None], sizes[None, None]]


def sampled_values(
    game: Game,
    teams: Bool[Tensor, "games teams players"],
    is_player: Bool[Tensor, "games players"],
    *,
    num_samples: int,
) -> Float[Tensor, "games teams"]:
    """An unbiased estimate of each team's Shapley value phi([R]), all of it playing as one: what it adds.

    Takes two values of the game for each sample; otherwise as `sampled_interactions`.
    """
    count, num_teams, players = teams.shape
    members = teams & is_player[:, None]
    drawn = (count, num_teams, num_samples)
    some = _random_subsets((is_player[:, None] & ~teams)[:, :, None].expand(*drawn, players))
    wholes = members[:, :, None].expand_as(some)
    values = game(torch.stack([some | wholes, some], dim=3).flatten(1, 3)).float().reshape(*drawn, 2)
    return (values[..., 0] - values[..., 1]).mean(dim=2)


def sampled_interactions(
    game: Game,
    teams: Bool[Tensor, "games teams players"],
    is_player: Bool[Tensor, "games players"],
    *,
    num_samples: int,
) -> Float[Tensor, "games teams"]:
    """An unbiased estimate of the interaction of each team; see `exact_interactions`.

    Draws from torch's global generator.

    Args:
        game: what coalitions are worth; asked for `3 * num_samples` coalitions of every team at once.
        teams: who is in each; an empty team has no interaction.
        is_player: who takes part.
        num_samples: coalitions of the others that are drawn for each team.
    """
    count, num_teams, players = teams.shape
    members = teams & is_player[:, None]
    drawn = (count, num_teams, num_samples)
    others = (is_player[:, None] & ~teams)[:, :, None].expand(*drawn, players)
    some = _random_subsets(others)
    wholes = members[:, :, None].expand_as(some)
    ones = some | _one_of(wholes)
    values = game(torch.stack([some | wholes, ones, some], dim=3).flatten(1, 3)).float().reshape(*drawn, 3)
    size = members.sum(dim=-1).float()[:, :, None]
    estimate = values[..., 0] - size * values[..., 1] + (size - 1) * values[..., 2]
    return torch.where(size[..., 0] > 0, estimate.mean(dim=2), 0.0)


def _random_subsets(others: Bool[Tensor, "*drawn players"]) -> Bool[Tensor, "*drawn players"]:
    """Of each set a subset: first its size, uniform from none to all, then who is in it."""
    order = torch.rand(others.shape, device=others.device).masked_fill(~others, 2.0)
    rank = order.argsort(dim=-1).argsort(dim=-1)
    available = others.sum(dim=-1, keepdim=True)
    size = (torch.rand(available.shape, device=others.device) * (available + 1)).floor().clamp(max=available)
    return others & (rank < size)


def _one_of(members: Bool[Tensor, "*drawn players"]) -> Bool[Tensor, "*drawn players"]:
    """One random member of each team, as a coalition of its own; none of an empty one."""
    order = torch.rand(members.shape, device=members.device).masked_fill(~members, -1.0)
    place = torch.arange(members.shape[-1], device=members.device)
    return members & (place == order.argmax(dim=-1, keepdim=True))
