"""LOUPE's losses by hand, its games on a small model, and the warnings of its paper's readers, each with a test.

1. A game that is linear in who plays has no interaction (`test_shapley`); the token-level game is not.
2. A large box almost always has a high interaction: what counts is what it has over a box of its size elsewhere.
3. One over a doubt near zero blows up.
4. The targets are constants, or the encoder would flatten the interactions.
"""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from runtime.preprocess.text import TextTransform
from tests.numerics.small import MODEL, small_batch, small_model, small_tokenizer
from training.data.batch import PairBatch, Phrases, caption_key
from training.data.phrases import PhrasesConfig, phrases_of
from training.model import PairModel, RegionHeadConfig
from training.model.interaction_network import LEAST_DOUBT, MOST_DOUBT, InteractionNetworkConfig
from training.objectives.box_game import BoxGameConfig, box_losses, box_masks, draw_boxes
from training.objectives.games import SemanticsGame, TokenGame, pair_teams
from training.objectives.loupe import Loupe, LoupeConfig
from training.objectives.phrase_alignment import (
    PhraseTable,
    confidence_shares,
    contrast_loss,
    fsa_loss,
    phrase_table,
    relative_rows,
)
from training.objectives.shapley import exact_interactions, sampled_interactions
from training.objectives.token_interactions import TokenInteractionConfig, TokenInteractions, tsa_loss, unsil_loss

PATCHES = 16


def looking_model(**head: object) -> PairModel:
    torch.manual_seed(0)
    config = dataclasses.replace(
        MODEL,
        region_head=RegionHeadConfig(regions=5, hidden=8, **head),  # type: ignore[arg-type]
        interaction_network=InteractionNetworkConfig(hidden=16),
    )
    return config.build(small_tokenizer().get_vocab_size())


def phrased_batch() -> PairBatch:
    batch = small_batch()
    transform = TextTransform(small_tokenizer(), max_subwords=32)
    seeds = [(0, row) for row in range(len(batch.texts))]
    return dataclasses.replace(batch, phrases=phrases_of(batch.texts, PhrasesConfig(), transform, seeds=seeds))


def token_game(model: PairModel, batch: PairBatch) -> TokenGame:
    return TokenGame(model=model, pixels=batch.pixels, ids=batch.ids, mask=batch.mask, special=batch.special)


def loupe_of(model: PairModel, **settings: object) -> Loupe:
    at_once = LoupeConfig(boxes=BoxGameConfig(start_step=0))
    return dataclasses.replace(at_once, **settings).build(model)  # type: ignore[arg-type]


def test_the_whole_coalition_is_worth_the_cosine_of_the_pair_and_nobody_something_finite():
    model, batch = small_model().eval(), small_batch()
    game = token_game(model, batch)
    players = game.is_player
    found = game(torch.stack([players, torch.zeros_like(players)], dim=1))
    with torch.no_grad():
        features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    cosines = (features.image_embedding * features.text_embedding).sum(dim=-1)
    torch.testing.assert_close(found[:, 0], cosines, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(found[:, 1]).all()
    special = torch.isin(batch.ids, torch.tensor(batch.special.all))
    assert not players[:, PATCHES:][special].any(), "special tokens and padding always take part"


def test_the_token_game_is_not_linear_and_pooling_again_would_be():
    """Hidden behind the encoder, patches only leave an average: without its normalisation, no interaction is left."""
    model, batch = small_model().eval(), small_batch()
    game = token_game(model, batch)
    teams = torch.zeros(len(batch.ids), 1, game.is_player.shape[1], dtype=torch.bool)
    teams[:, :, [5, 6, 9, 10]] = True
    torch.manual_seed(0)
    played = sampled_interactions(game, teams, game.is_player, num_samples=24)
    with torch.no_grad():
        features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
        worth = features.patch_embeddings @ features.text_embedding[:, :, None] / PATCHES

    few = torch.zeros(len(batch.ids), 1, 8, dtype=torch.bool)
    few[:, :, :4] = True

    def linear(coalitions: Tensor) -> Tensor:
        return (coalitions.float() @ worth[:, :8]).squeeze(-1)

    assert exact_interactions(linear, few, torch.ones(len(batch.ids), 8, dtype=torch.bool)).abs().max() < 1e-5
    assert played.abs().max() > 1e-3


def test_the_semantics_game_by_hand():
    to_phrases = torch.tensor([[[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]]])
    to_regions = torch.tensor([[[0.6, 0.2], [0.1, 0.7], [0.3, 0.1]]])
    game = SemanticsGame(to_phrases=to_phrases, to_regions=to_regions)
    some = torch.tensor([[[1, 1, 0, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]]).bool()
    found = game(some)[0]
    first = ((0.9 + 0.3) / 2 + 0.6) / 2
    everyone = ((0.9 + 0.7 + 0.5) / 3 + (0.6 + 0.7) / 2) / 2
    torch.testing.assert_close(found, torch.tensor([first, everyone, 0.0, 0.0, 0.0]))


def test_a_region_and_its_phrase_play_together_best():
    logits = torch.full((1, 3, 2), -2.0)
    logits[0, 0, 0] = logits[0, 2, 1] = 3.0  # the second region is background
    all_regions, all_phrases = torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    to_phrases, to_regions = relative_rows(logits, all_regions, all_phrases)
    game = SemanticsGame(to_phrases=to_phrases.exp(), to_regions=to_regions.exp())
    players = torch.cat([all_regions, all_phrases], dim=1)
    found = exact_interactions(game, pair_teams(3, 2)[None], players).reshape(3, 2)
    assert found[:, 0].argmax() == 0
    assert found[:, 1].argmax() == 2
    assert min(found[0, 0], found[2, 1]) > found[1].max(), "no pair of the background is as good"


def test_padding_has_no_softmax_and_no_loss():
    logits = torch.randn(1, 3, 2)
    is_found, is_phrase = torch.tensor([[True, True, False]]), torch.tensor([[True, False]])
    to_phrases, to_regions = relative_rows(logits, is_found, is_phrase)
    assert to_phrases[0, 0, 0].item() == pytest.approx(0.0, abs=1e-6), "one phrase has all of every region"
    assert to_regions[0, :2, 0].exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    loss = fsa_loss(to_phrases, to_regions, torch.ones(1, 3, 2), is_found, is_phrase)
    expected = -(to_regions[0, 0, 0] + to_regions[0, 1, 0]) / 2 / 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_fsa_weighs_pairs_by_their_interaction_and_drops_what_plays_against():
    logits, interactions = (
        torch.randn(2, 3, 2),
        torch.tensor([[[0.3, -1.0], [0.1, 0.0], [-0.2, 0.6]], [[-1.0, -0.1]] * 3]),
    )
    regions, phrases = torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool)
    to_phrases, to_regions = relative_rows(logits, regions, phrases)
    expected = 0.0
    for region, phrase, weight in ((0, 0, 0.3), (1, 0, 0.1), (2, 1, 0.6)):
        a = torch.softmax(logits[0, region], dim=0)[phrase].log()
        b = torch.softmax(logits[0, :, phrase], dim=0)[region].log()
        expected -= weight * (a + b).item() / 2
    assert fsa_loss(to_phrases, to_regions, interactions, regions, phrases).item() == pytest.approx(expected, rel=1e-4)


def test_confidence_is_what_a_box_has_of_a_phrase_beside_the_box_that_has_most():
    similarity = torch.randn(2, 3, 4)
    table = PhraseTable(phrases=torch.tensor([[0, 2], [0, 0]]), is_phrase=torch.tensor([[True, True], [False, False]]))
    found, is_known = confidence_shares(similarity, table)
    shares = torch.softmax(similarity[0, [0, 2]], dim=1)
    most = [max(shares[0, box].item(), shares[1, box].item()) for box in range(4)]
    torch.testing.assert_close(found[0], torch.tensor([value / max(most) for value in most]))
    assert is_known.tolist() == [[True] * 4, [False] * 4]


def test_targets_are_constants():
    scores, shares = torch.randn(2, 3, requires_grad=True), torch.rand(2, 3, requires_grad=True)
    known = torch.ones(2, 3, dtype=torch.bool)
    tsa_loss(scores, shares, known).backward()
    assert scores.grad is not None
    assert shares.grad is None
    logits, interactions = torch.randn(1, 3, 2, requires_grad=True), torch.rand(1, 3, 2, requires_grad=True)
    pairs = relative_rows(logits, known[:1], known[:1, :2])
    fsa_loss(*pairs, interactions, known[:1], known[:1, :2]).backward()
    assert logits.grad is not None
    assert interactions.grad is None


def test_tsa_is_the_cross_entropy_of_what_is_known():
    scores, shares = torch.tensor([[0.5, -1.0, 9.0]]), torch.tensor([[0.8, 0.1, 0.0]])

    def cost(score: float, share: float) -> float:
        sure = 1 / (1 + math.exp(-score))
        return -share * math.log(sure) - (1 - share) * math.log(1 - sure)

    known = torch.tensor([[True, True, False]])
    assert tsa_loss(scores, shares, known).item() == pytest.approx((cost(0.5, 0.8) + cost(-1.0, 0.1)) / 2, rel=1e-5)
    assert tsa_loss(scores, shares, torch.zeros_like(known)).item() == 0.0


@pytest.mark.parametrize("beta", [0.25, 1.0, 4.0])
def test_a_doubt_settles_at_the_error_over_the_root_of_beta(beta: float):
    error = 0.4
    doubts = torch.linspace(0.05, 0.95, 181)
    costs = torch.stack([unsil_loss(torch.tensor([error]), doubt[None], torch.zeros(1), beta) for doubt in doubts])
    assert doubts[costs.argmin()].item() == pytest.approx(min(0.95, error / math.sqrt(beta)), abs=0.006)


def test_a_doubt_stays_away_from_zero_and_one():
    network = InteractionNetworkConfig(hidden=8).build(4)
    last = network.layers[-1]
    assert isinstance(last, nn.Linear)
    for extreme, limit in ((-1e4, LEAST_DOUBT), (1e4, MOST_DOUBT)):
        nn.init.constant_(last.bias, extreme)
        _, doubt = network(torch.randn(1, 2, 4), torch.rand(1, 2, 4), torch.randn(1, 4), torch.randn(1, 4))
        assert doubt[0, 0].item() == pytest.approx(limit, abs=1e-5)
        loss = unsil_loss(torch.zeros(1), doubt[0, :1], torch.ones(1), 1.0)
        loss.backward()
        assert all(torch.isfinite(weight.grad).all() for weight in network.parameters() if weight.grad is not None)


def test_the_network_begins_in_doubt():
    network = InteractionNetworkConfig(first_doubt=0.9).build(4)
    nn.init.zeros_(network.layers[-1].weight)  # type: ignore[arg-type]
    _, doubt = network(torch.randn(1, 2, 4), torch.rand(1, 2, 4), torch.randn(1, 4), torch.randn(1, 4))
    torch.testing.assert_close(doubt, torch.full((1, 2), 0.9))


def test_a_whole_picture_has_nothing_over_a_box_of_its_size():
    """Its random counterpart is itself: the size of a box earns no confidence."""
    model, batch = looking_model(), phrased_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    assert model.region_head is not None
    best = model.region_head.best(model.regions(features.image_tokens, features.patch_embeddings))
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand_as(best.boxes)
    middles, sides = (whole[..., :2] + whole[..., 2:]) / 2, whole[..., 2:] - whole[..., :2]
    best = dataclasses.replace(best, boxes=whole, membership=model.region_head.membership(middles, sides))
    interactions = TokenInteractions(TokenInteractionConfig(), model)
    items = interactions._items(model, features, best, model.region_head.is_apart(best), torch.arange(4))
    torch.testing.assert_close(items.membership[:, :5], items.membership[:, 5:])


def test_counterparts_are_as_large_and_lie_in_the_picture():
    model, batch = looking_model(first_side=1.5), phrased_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    assert model.region_head is not None
    best = model.region_head.best(model.regions(features.image_tokens, features.patch_embeddings))
    interactions = TokenInteractions(TokenInteractionConfig(), model)
    items = interactions._items(model, features, best, model.region_head.is_apart(best), torch.arange(4))
    own, other = items.boxes[:, :5], items.boxes[:, 5:]
    torch.testing.assert_close(other[..., 2:] - other[..., :2], own[..., 2:] - own[..., :2])
    assert ((other > -1e-6) & (other < 1 + 1e-6)).all()


def test_phrases_are_contrasted_with_pictures_that_do_not_say_them():
    phrases = Phrases(
        ids=torch.zeros(4, 1, dtype=torch.int64),
        mask=torch.ones(4, 1, dtype=torch.bool),
        rows=torch.tensor([0, 0, 1, 2]),
        keys=torch.tensor([caption_key(text) for text in ("red cup", "star", "red cup", "moon")]),
    )
    similarity = torch.randn(3, 4, 5)
    alike = similarity.logsumexp(dim=2)
    # phrase to picture: the cup of picture 0 is also said of picture 1
    wrong = {0: [2], 1: [1, 2], 2: [2], 3: [0, 1]}
    own = {0: 0, 1: 0, 2: 1, 3: 2}
    to_pictures = 0.0
    for phrase, others in wrong.items():
        row = torch.stack([alike[own[phrase], phrase], *(alike[other, phrase] for other in others)])
        to_pictures -= torch.log_softmax(row, dim=0)[0].item() / 4
    # picture to phrase: other phrases of the caption, and equal ones, are no wrong answers
    wrong = {0: [3], 1: [3], 2: [1, 3], 3: [0, 1, 2]}
    to_phrases = 0.0
    for phrase, others in wrong.items():
        row = torch.stack([alike[own[phrase], phrase], *(alike[own[phrase], other] for other in others)])
        to_phrases -= torch.log_softmax(row, dim=0)[0].item() / 4
    found = contrast_loss(similarity, phrases, phrase_table(phrases, 3))
    assert found.item() == pytest.approx((to_pictures + to_phrases) / 2, rel=1e-4)


def test_phrases_stand_by_picture():
    phrases = phrased_batch().phrases
    assert phrases is not None
    table = phrase_table(phrases, 5)
    assert table.is_phrase.sum() == len(phrases.rows)
    assert not table.is_phrase[4].any(), "a picture without phrases"
    for image in range(5):
        listed = table.phrases[image][table.is_phrase[image]].tolist()
        assert listed == (phrases.rows == image).nonzero().flatten().tolist()


def test_a_box_mask_is_one_inside_and_half_on_the_border():
    (mask,) = box_masks(torch.tensor([[0.25, 0.5, 0.75, 1.5]]), height=32, width=32, border_px=0.01)
    assert mask[0, 20, 10].item() == pytest.approx(1.0)
    assert mask[0, 10, 10].item() == pytest.approx(0.0)
    assert mask[0, 31, 7].item() == pytest.approx(0.0)
    assert mask[0, 31, 8].item() == pytest.approx(1.0)
    (soft,) = box_masks(torch.tensor([[0.25 + 0.5 / 32, -9.0, 9.0, 9.0]]), height=32, width=32, border_px=1.0)
    assert soft[0, 5, 8].item() == pytest.approx(0.5, abs=1e-4)


def test_boxes_are_drawn_among_those_that_are_like_the_phrase():
    boxes = torch.rand(2, 6, 4)
    similarity = torch.full((2, 6), -100.0)
    similarity[0, 4] = similarity[1, 2] = 100.0
    torch.testing.assert_close(draw_boxes(boxes, similarity), torch.stack([boxes[0, 4], boxes[1, 2]]))


def test_the_box_game_trains_boxes_and_its_outside_nothing_else():
    model, batch = looking_model(), phrased_batch()
    assert batch.phrases is not None
    phrases = torch.nn.functional.normalize(torch.randn(2, 8), dim=-1)
    boxes = torch.tensor([[0.2, 0.2, 0.7, 0.8], [0.1, 0.3, 0.5, 0.6]], requires_grad=True)
    losses = box_losses(
        model,
        batch.pixels[:2],
        boxes,
        phrases,
        torch.tensor([0, 1]),
        is_same=torch.zeros(2, 2, dtype=torch.bool),
        temperature=0.1,
        config=BoxGameConfig(),
    )
    losses.outside.backward(retain_graph=True)
    assert boxes.grad is not None
    assert (boxes.grad.abs() > 0).all()
    assert all(weight.grad is None for weight in model.parameters())
    assert all(weight.requires_grad for weight in model.parameters())
    losses.inside.backward()
    assert any(weight.grad is not None for weight in model.image_encoder.parameters())
    expected = (math.sqrt(math.sqrt(0.5 * 0.6)) + math.sqrt(math.sqrt(0.4 * 0.3))) / 2
    assert losses.side.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "settings", [{}, {"random_interactions": True}, {"fsa": 0.0}, {"contrast": 0.0}, {"boxes": None}, {"tsa": 0.0}]
)
def test_every_row_trains_its_head(settings: dict[str, object]):
    model, batch = looking_model(), phrased_batch()
    output = loupe_of(model, **settings)(model, batch, model.encode_pairs(batch.pixels, batch.ids, batch.mask))
    assert torch.isfinite(output.loss)
    output.loss.backward()
    assert model.region_head is not None
    gradient = model.region_head.predict.weight.grad
    assert gradient is not None
    assert gradient[:4].abs().sum() > 0, "the boxes"
    assert gradient[4].abs().sum() > 0, "the confidence"


def test_boxes_stay_as_they_are_before_the_box_game_begins():
    model, batch = looking_model(), phrased_batch()
    output = loupe_of(model, boxes=BoxGameConfig(start_step=1))(
        model, batch, model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    )
    output.loss.backward()
    assert model.region_head is not None
    gradient = model.region_head.predict.weight.grad
    assert gradient is not None
    assert gradient[:4].abs().sum() == 0
    assert "boxes" not in output.report


def test_the_networks_loss_trains_the_network_alone():
    model, batch = looking_model(), phrased_batch()
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    assert model.region_head is not None
    best = model.region_head.best(model.regions(features.image_tokens, features.patch_embeddings))
    found = TokenInteractions(TokenInteractionConfig(), model).of(
        model, batch, features, best, model.region_head.is_apart(best)
    )
    assert found.network_loss is not None
    found.network_loss.backward()
    trained = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}
    assert trained == {"interaction_network"}


def test_a_sure_network_spares_the_game_after_the_first_steps():
    model, batch = looking_model(), phrased_batch()
    assert model.interaction_network is not None
    nn.init.constant_(model.interaction_network.layers[-1].bias, -1e4)  # type: ignore[arg-type]
    interactions = TokenInteractions(TokenInteractionConfig(always_sampled_steps=2), model)

    def skipped() -> float:
        features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
        assert model.region_head is not None
        best = model.region_head.best(model.regions(features.image_tokens, features.patch_embeddings))
        found = interactions.of(model, batch, features, best, model.region_head.is_apart(best))
        interactions.advance()
        return found.report["skipped"].item()

    assert [skipped(), skipped()] == [0.0, 0.0]
    assert skipped() > 0.8


def test_its_state_comes_back():
    model, batch = looking_model(), phrased_batch()
    first = loupe_of(model)
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    first(model, batch, features)
    assert first.state_dict()["spread"].sum() == 0, "nothing moves while the loss is computed"
    first.advance(model, features)
    second = loupe_of(model)
    second.load_state_dict(first.state_dict())
    assert second.state_dict()["num_steps"] == 1
    assert (second.state_dict()["spread"] > 0).all()


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match="region head"):
        LoupeConfig().build(small_model())
    model, batch = looking_model(), small_batch()
    with pytest.raises(ValueError, match="PhrasesConfig"):
        loupe_of(model)(model, batch, model.encode_pairs(batch.pixels, batch.ids, batch.mask))
