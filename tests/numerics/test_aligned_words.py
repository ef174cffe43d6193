import math

import pytest
import torch

from training.model.aligned_words import AlignedWords

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]


def test_what_is_seen_of_a_word_by_hand():
    aligned = AlignedWords(text_width=5, joint_width=2, members=1, width=4)
    words = torch.tensor([[EAST, [0.6, 0.8]]])
    patches = torch.tensor([[EAST, NORTH, [-1.0, 0.0]]])
    seen = aligned.seen(words, patches)[0]
    high, low = 1 / (1 + math.exp(-4.0)), 1 / (1 + math.exp(4.0))  # of 0.8 and 0.6 at sharpness 20; -0.6 is nothing
    assert seen[0].tolist() == pytest.approx([1.0, 1.0, 0.0], abs=1e-6)
    assert seen[1].tolist() == pytest.approx([0.8, 0.8 * high + 0.6 * low, 0.8 / 3], rel=1e-5)


def test_each_member_sees_by_itself():
    torch.manual_seed(0)
    both = AlignedWords(text_width=7, joint_width=4, members=2, width=4)
    alone = AlignedWords(text_width=7, joint_width=2, members=1, width=4)
    halves = [torch.nn.functional.normalize(torch.randn(1, 3, 2), dim=-1) for _ in range(4)]
    words, patches = torch.cat(halves[:2], dim=-1) / 2**0.5, torch.cat(halves[2:], dim=-1) / 2**0.5
    seen = both.seen(words, patches).unflatten(-1, (3, 2))
    for member in (0, 1):
        torch.testing.assert_close(seen[..., member], alone.seen(halves[member], halves[2 + member]))


def test_tokens_know_the_words_and_how_far_they_are_seen():
    torch.manual_seed(0)
    aligned = AlignedWords(text_width=7, joint_width=4, members=2, width=6)
    words, patches = torch.randn(2, 3, 7), torch.randn(2, 5, 4)
    out = aligned(words, patches)
    assert out.shape == (2, 3, 6)
    assert not torch.allclose(out, aligned(words, patches.flip(0)))
    torch.testing.assert_close(out, aligned(words, patches[:, torch.tensor([3, 1, 4, 0, 2])]), rtol=1e-4, atol=1e-5)
