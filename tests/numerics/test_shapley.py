"""Shapley interactions against the definition, played out in every order on games small enough."""

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.objectives.shapley import MOST_PLAYERS, exact_interactions, sampled_interactions, sampled_values

PLAYERS = 5
Worth = Callable[[frozenset[int]], float]


def shapley_value(worth: Worth, players: list[frozenset[int]], player: frozenset[int]) -> float:
    """What a player (several that act as one) adds, on average over all orders in which players come."""
    orders = list(permutations(players))
    total = 0.0
    for order in orders:
        before = frozenset().union(*order[: order.index(player)])
        total += worth(before | player) - worth(before)
    return total / len(orders)


def by_definition(worth: Worth, team: frozenset[int], players: frozenset[int]) -> float:
    """phi([R] | X \\ R + [R]) - sum over k in R of phi(k | X \\ R + k)."""
    others = [frozenset({player}) for player in sorted(players - team)]
    joint = shapley_value(worth, [*others, team], team)
    return joint - sum(shapley_value(worth, [*others, frozenset({k})], frozenset({k})) for k in team)


def game_of(values: Tensor) -> Callable[[Tensor], Tensor]:
    """A game whose coalitions are worth what a table says, [2 ** players]."""

    def game(coalitions: Tensor) -> Tensor:
        return values[(coalitions * 2 ** torch.arange(coalitions.shape[-1])).sum(dim=-1)]

    return game


def worth_of(values: Tensor) -> Worth:
    return lambda coalition: values[sum(2**player for player in coalition)].item()


def as_team(*members: int) -> Tensor:
    team = torch.zeros(PLAYERS, dtype=torch.bool)
    team[list(members)] = True
    return team


EVERYBODY = torch.ones(1, PLAYERS, dtype=torch.bool)


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sets(st.integers(0, PLAYERS - 1), min_size=1, max_size=3), st.booleans())
def test_exact_is_the_definition(seed: int, team: set[int], one_is_absent: bool):
    values = torch.randn(2**PLAYERS, generator=torch.Generator().manual_seed(seed))
    present = set(range(PLAYERS))
    if one_is_absent:
        present -= {min(set(range(PLAYERS)) - team)}
    is_player = as_team(*present)[None]
    found = exact_interactions(game_of(values), as_team(*team)[None, None], is_player)
    expected = by_definition(worth_of(values), frozenset(team), frozenset(present))
    assert found.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("team", [(1,), (0, 3), (1, 2, 4)])
def test_sampling_is_unbiased(team: tuple[int, ...]):
    """The mean of many estimates lies within four of its standard errors of the truth, and one estimate does not."""
    torch.manual_seed(0)
    game = game_of(torch.randn(2**PLAYERS))
    teams = as_team(*team)[None, None]
    exact = exact_interactions(game, teams, EVERYBODY).item()
    estimates = sampled_interactions(game, teams.expand(1, 4000, -1), EVERYBODY, num_samples=1)[0]
    assert abs(estimates.mean().item() - exact) <= 4 * estimates.std().item() / 4000**0.5 + 1e-6
    if len(team) > 1:
        assert estimates.std() > 0.1, "an estimate that never varies proves nothing"


@pytest.mark.parametrize("team", [(1,), (0, 3), (1, 2, 4)])
def test_the_sampled_value_of_a_team_is_unbiased(team: tuple[int, ...]):
    torch.manual_seed(0)
    values = torch.randn(2**PLAYERS)
    others = [frozenset({player}) for player in range(PLAYERS) if player not in team]
    exact = shapley_value(worth_of(values), [*others, frozenset(team)], frozenset(team))
    teams = as_team(*team)[None, None].expand(1, 4000, -1)
    estimates = sampled_values(game_of(values), teams, EVERYBODY, num_samples=1)[0]
    assert abs(estimates.mean().item() - exact) <= 4 * estimates.std().item() / 4000**0.5 + 1e-6
    assert estimates.std() > 0.1


@pytest.mark.parametrize("how", ["exact", "sampled"])
def test_a_linear_game_has_no_interaction_anywhere(how: str):
    """The degenerate game: where each player adds the same to any coalition there is nothing to learn from."""
    torch.manual_seed(0)
    worth = torch.randn(PLAYERS)
    teams = torch.rand(1, 20, PLAYERS) < 0.5

    def linear(coalitions: Tensor) -> Tensor:
        return coalitions.float() @ worth

    if how == "exact":
        found = exact_interactions(linear, teams, EVERYBODY)
        assert found.abs().max() < 1e-5
    else:
        pairs = torch.stack([as_team(0, 1), as_team(2, 4)])[None].repeat(1, 500, 1)
        found = sampled_interactions(linear, pairs, EVERYBODY, num_samples=8)
        assert found.mean().abs() < 0.1
    both_or_nothing = game_of(torch.tensor([float(code & 3 == 3) for code in range(2**PLAYERS)]))
    right, wrong = as_team(0, 1), as_team(2, 3)
    found = exact_interactions(both_or_nothing, torch.stack([right, wrong])[None], EVERYBODY)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("team", [(), (2,)])
def test_nobody_and_one_alone_have_none(team: tuple[int, ...]):
    torch.manual_seed(0)
    game = game_of(torch.randn(2**PLAYERS))
    teams = as_team(*team)[None, None]
    assert exact_interactions(game, teams, EVERYBODY).item() == pytest.approx(0.0, abs=1e-5)
    assert sampled_interactions(game, teams, EVERYBODY, num_samples=16).item() == pytest.approx(0.0, abs=1e-5)


def test_who_is_no_player_is_never_asked_to_play():
    is_player = as_team(0, 1, 3)[None]
    asked: list[Tensor] = []

    def game(coalitions: Tensor) -> Tensor:
        asked.append(coalitions)
        return coalitions.float().sum(dim=-1)

    sampled_interactions(game, as_team(1, 2)[None, None], is_player, num_samples=50)
    exact_interactions(game, as_team(1, 2)[None, None], is_player)
    assert not any(coalitions[..., [2, 4]].any() for coalitions in asked)


def test_coalitions_of_every_size_are_equally_likely():
    """The size is drawn first: drawing each player by itself would hardly ever leave out nearly all or nearly none."""
    torch.manual_seed(0)
    sizes: list[Tensor] = []

    def game(coalitions: Tensor) -> Tensor:
        sizes.append(coalitions[:, 2::3].sum(dim=-1).flatten())  # every third is the subset alone
        return coalitions.float().sum(dim=-1)

    sampled_interactions(game, as_team(0)[None, None], EVERYBODY, num_samples=5000)
    counts = torch.bincount(torch.cat(sizes), minlength=PLAYERS).float() / 5000
    torch.testing.assert_close(counts, torch.full((PLAYERS,), 1 / PLAYERS), rtol=0, atol=0.03)


def test_too_many_players_to_try_are_refused():
    many = torch.ones(1, 1, MOST_PLAYERS + 1, dtype=torch.bool)
    with pytest.raises(ValueError, match="too many coalitions"):
        exact_interactions(lambda coalitions: coalitions.float().sum(dim=-1), many, many[:, 0])
