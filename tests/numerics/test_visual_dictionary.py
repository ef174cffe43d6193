"""The visual dictionary by hand and by brute force: look-up, gradient, moving average, beginning, revival."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from tests.numerics.small import MODEL, small_batch, small_tokenizer
from training.average import WeightAverage
from training.model import PairModel, VisualDictionary, VisualDictionaryConfig
from training.model.momentum import MomentumConfig, MomentumModel
from training.model.visual_dictionary import k_means, nearest, smoothed

CONFIG = VisualDictionaryConfig(size=3, share=1.0, decay=0.75, smoothing=0.5, start_step=1)


def begun(vectors: torch.Tensor, counts: torch.Tensor, config: VisualDictionaryConfig = CONFIG) -> VisualDictionary:
    dictionary = dataclasses.replace(config, size=len(vectors)).build(vectors.shape[1])
    dictionary.vectors.copy_(vectors)
    dictionary.counts.copy_(counts)
    dictionary.sums.copy_(vectors * counts[:, None])
    dictionary.has_begun.fill_(True)
    return dictionary


def dictionary_model(**changes: object) -> PairModel:
    torch.manual_seed(0)
    config = VisualDictionaryConfig(size=6, start_step=1)
    with_one = dataclasses.replace(MODEL, visual_dictionary=dataclasses.replace(config, **changes))  # type: ignore[arg-type]
    return with_one.build(small_tokenizer().get_vocab_size())


@given(seed=st.integers(0, 2**16), rows=st.integers(1, 30), size=st.integers(2, 12), width=st.integers(1, 6))
def test_the_nearest_code_is_the_brute_force_one(seed: int, rows: int, size: int, width: int):
    rng = np.random.default_rng(seed)
    tokens, vectors = (rng.integers(-3, 4, (count, width)) for count in (rows, size))  # whole numbers tie, and exactly
    expected = [
        min(range(size), key=lambda code: (int(((token - vectors[code]) ** 2).sum()), code)) for token in tokens
    ]
    found = nearest(torch.from_numpy(tokens).float(), torch.from_numpy(vectors).float())
    assert found.tolist() == expected


def test_the_gradient_is_the_identity_and_the_vectors_have_none():
    dictionary = begun(torch.randn(4, 5), torch.ones(4))
    tokens = torch.randn(2, 3, 5, requires_grad=True)
    wanted = torch.randn(2, 3, 5)
    looked = dictionary(tokens)
    (looked.tokens * wanted).sum().backward()
    assert tokens.grad is not None
    torch.testing.assert_close(tokens.grad, wanted)
    torch.testing.assert_close(looked.tokens.detach(), dictionary.vectors[looked.codes])  # a share of 1: codes alone
    assert not list(dictionary.parameters())


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_share_of_the_code(share: float):
    dictionary = begun(torch.randn(4, 5), torch.ones(4), dataclasses.replace(CONFIG, share=share))
    tokens = torch.randn(2, 3, 5)
    looked = dictionary(tokens)
    torch.testing.assert_close(looked.tokens, (1 - share) * tokens + share * dictionary.vectors[looked.codes])


def test_the_update_by_hand():
    vectors = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    dictionary = begun(vectors, torch.tensor([4.0, 2.0, 2.0]))
    dictionary.advance(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 1.0], [1.0, 1.0]]]))  # codes 0, 0, 1, 0
    counts = [0.75 * 4 + 0.25 * 3, 0.75 * 2 + 0.25 * 1, 0.75 * 2]
    sums = [[0.25 * 2, 0.25 * 2], [0.75 * 20 + 0.25 * 9, 0.25 * 1], [0.0, 0.75 * 20]]
    total = sum(counts)
    divisors = [(count + 0.5) / (total + 3 * 0.5) * total for count in counts]
    torch.testing.assert_close(dictionary.counts, torch.tensor(counts))
    torch.testing.assert_close(dictionary.sums, torch.tensor(sums))
    expected = [[number / divisor for number in row] for row, divisor in zip(sums, divisors, strict=True)]
    torch.testing.assert_close(dictionary.vectors, torch.tensor(expected))


def test_smoothing_keeps_the_sum_and_leaves_no_zero():
    found = smoothed(torch.tensor([3.0, 0.0, 1.0]), 1e-5)
    assert found.sum().item() == pytest.approx(4.0)
    assert (found > 0).all()


def test_perplexity_is_the_exponential_of_the_entropy():
    dictionary = begun(torch.eye(3), torch.tensor([2.0, 1.0, 1.0]))
    assert dictionary.report()["perplexity"].item() == pytest.approx(math.exp(1.5 * math.log(2)))
    even = begun(torch.eye(3), torch.ones(3))
    assert even.report()["perplexity"].item() == pytest.approx(3.0)
    assert even.report()["dead"].item() == 0.0


def test_k_means_is_about_as_good_as_scikit_learns():
    generator = torch.Generator().manual_seed(3)
    centres = 8 * torch.randn(12, 4, generator=generator)
    patches = centres.repeat(40, 1) + torch.randn(480, 4, generator=generator)
    found = k_means(patches, 12, seed=0)
    inertia = (patches - found[nearest(patches, found)]).square().sum().item()
    theirs = KMeans(12, n_init=1, random_state=0).fit(patches.numpy()).inertia_
    assert inertia < 1.1 * theirs
    assert torch.equal(found, k_means(patches, 12, seed=0))


def test_it_begins_at_its_step_and_passes_tokens_until_then():
    dictionary = VisualDictionaryConfig(size=4, share=1.0, start_step=2).build(3)
    tokens = torch.randn(5, 6, 3, generator=torch.Generator().manual_seed(0))
    before = dictionary(tokens)
    dictionary.advance(tokens)
    assert torch.equal(before.tokens, tokens)
    assert not before.codes.any()
    assert dictionary.report()["perplexity"].item() == 0.0
    dictionary.advance(tokens)
    looked = dictionary(tokens)
    counts = torch.bincount(looked.codes.flatten(), minlength=4)
    assert torch.equal(dictionary.counts, counts.float())
    for code in range(4):  # k-means has come to rest: each vector is the mean of its patches
        torch.testing.assert_close(dictionary.vectors[code], tokens[looked.codes == code].mean(dim=0))


def test_fewer_patches_than_codes_cannot_begin():
    with pytest.raises(ValueError, match="smaller size"):
        VisualDictionaryConfig(size=8, start_step=1).build(3).advance(torch.randn(1, 7, 3))


def test_a_dead_code_begins_anew_at_a_patch_of_the_step():
    far = torch.tensor([[0.0, 0.0], [1.0, 0.0], [500.0, 500.0]])
    config = dataclasses.replace(CONFIG, dead_share=0.2, decay=0.5, smoothing=1e-6)
    dictionary = begun(far, torch.tensor([4.0, 4.0, 0.5]), config)
    tokens = torch.tensor([[[0.0, 0.5], [1.0, 0.5], [-0.5, 0.0], [1.5, 0.0], [0.0, 0.0], [1.0, 1.0]]])
    dictionary.advance(tokens)
    revived = dictionary.vectors[2]
    assert any(torch.allclose(revived, patch, atol=1e-4) for patch in tokens[0])
    living = (dictionary.counts[:2].sum() + 0.25) / 3  # the mean before it was revived
    assert dictionary.counts[2].item() == pytest.approx(2 * 0.2 * living.item())


def test_neighbours_are_cosines_of_living_codes():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [5.0, 1.0]])
    found = begun(vectors, torch.tensor([4.0, 4.0, 4.0, 0.0])).neighbours()
    half = math.sqrt(0.5)
    never = -math.inf
    expected = [[never, 0, half, never], [0, never, half, never], [half, half, never, never]]
    torch.testing.assert_close(found[:3], torch.tensor(expected))


def test_fusion_sees_codes_and_the_embedding_does_not():
    model, batch = dictionary_model(share=1.0), small_batch()
    assert model.visual_dictionary is not None
    before = model.encode_images(batch.pixels)
    assert before.continuous_tokens is not None
    model.visual_dictionary.advance(before.continuous_tokens)
    after = model.encode_images(batch.pixels)
    assert after.codes is not None
    assert torch.equal(after.embedding, before.embedding)
    assert torch.equal(after.patch_embeddings, before.patch_embeddings)
    torch.testing.assert_close(after.tokens, model.visual_dictionary.vectors[after.codes])


def test_the_momentum_model_and_the_average_have_the_dictionary_as_it_is():
    model, batch = dictionary_model(), small_batch()
    momentum, average = MomentumModel(model, MomentumConfig(decay=0.9)), WeightAverage(model, 0.99)
    assert model.visual_dictionary is not None
    model.visual_dictionary.advance(model.image_encoder(batch.pixels))
    with torch.no_grad():
        model.temperature_logit.add_(1.0)
    momentum.advance(model)
    average.update(model, step=1000)
    for name, value in model.visual_dictionary.state_dict().items():
        assert torch.equal(momentum.model.state_dict()[f"visual_dictionary.{name}"], value), name
        assert torch.equal(average.weights[f"visual_dictionary.{name}"], value), name
    assert average.weights["temperature_logit"] != model.temperature_logit


@pytest.mark.parametrize("wrong", [{"size": 1}, {"share": 1.5}, {"decay": 1.0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="visual dictionary needs"):
        VisualDictionaryConfig(**wrong).build(4)  # type: ignore[arg-type]
