"""The head that averages first: its mean, its members and its statistics, by hand."""

import pytest
import torch
from torch.nn import functional as F

from training.model.heads import MeanHeadConfig, Standardise


def head(**changes):
    torch.manual_seed(0)
    config = MeanHeadConfig(dropped_channels=0.0, dropped_hidden=0.0, **changes)
    return config.build(width=6, dim=8)


def test_a_text_is_the_projection_of_the_mean_of_its_words():
    projection = head().eval()
    tokens = torch.randn(2, 4, 6)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    embedding, each = projection(tokens, mask)
    linear = projection.members[0][1]
    mean = torch.stack([tokens[0].mean(dim=0), tokens[1, :2].mean(dim=0)])
    torch.testing.assert_close(embedding, F.normalize(linear(mean), dim=-1))
    torch.testing.assert_close(each[1, 3], F.normalize(linear(tokens[1, 3]), dim=-1))


def test_the_cosine_of_the_whole_is_the_mean_of_the_members():
    projection = head(hidden=5, members=4).eval()
    embedding, each = projection(torch.randn(3, 7, 6))
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(each.norm(dim=-1), torch.ones(3, 7))
    slices = embedding.unflatten(-1, (4, 2))
    torch.testing.assert_close(slices.norm(dim=-1), torch.full((3, 4), 0.5))
    own = F.normalize(slices, dim=-1)
    torch.testing.assert_close(embedding[0] @ embedding[1], (own[0] * own[1]).sum(dim=-1).mean())


def test_positions_are_left_out_in_training_alone():
    projection = head(drops_positions=True)
    tokens = torch.randn(5, 9, 6)
    projection.standardise.num_seen.fill_(1000)  # the statistics are settled
    first, second = projection.train()(tokens)[0], projection(tokens)[0]
    assert not torch.equal(first, second)
    assert first.isfinite().all()
    projection.eval()
    assert torch.equal(projection(tokens)[0], projection(tokens)[0])


def test_in_training_single_tokens_cost_nothing():
    _, each = head().train()(torch.randn(3, 7, 6))
    assert each.shape == (3, 7, 8)
    assert each.untyped_storage().nbytes() == each.element_size()


def test_channels_are_standardised_by_what_was_seen():
    standardise = Standardise(2)
    batches = [torch.randn(50, 2) * torch.tensor([3.0, 0.1]) + torch.tensor([5.0, -1.0]) for _ in range(4)]
    for batch in batches:
        standardise.see(batch)
    together = torch.cat(batches)
    expected = (together - together.mean(dim=0)) / together.std(dim=0, correction=0)
    torch.testing.assert_close(standardise(together), expected.clamp(-6, 6), atol=1e-3, rtol=1e-3)
    assert standardise(torch.tensor([1e6, -1e6])).tolist() == [6.0, -6.0]


def test_statistics_settle():
    standardise = Standardise(1)
    for _ in range(200):
        standardise.see(torch.zeros(4, 1))
    before = standardise.mean.clone()
    standardise.see(torch.full((4, 1), 100.0))
    assert torch.equal(standardise.mean, before)


def test_dimensions_must_divide_among_the_members():
    with pytest.raises(ValueError, match="8 is not a multiple of 3"):
        head(members=3)
