"""NAS by hand: relevance, what is exchanged for what, gradients, groups averaged apart, rejection, the curriculum."""

import dataclasses
import itertools
import math
from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F

from tests.numerics.small import MODEL, small_batch, small_model, small_tokenizer
from training.data.batch import EditedTexts, PairBatch, WrongWords
from training.encoding import PairsEncoding
from training.model import PairFeatures, PairModel, VisualDictionaryConfig
from training.model.momentum import MomentumConfig, MomentumModel
from training.objectives import ComposedObjective, NasConfig, WeightedObjective
from training.objectives.nas import (
    VisualAugmentationConfig,
    accepted,
    connected,
    draw_targets,
    exchanged,
    hardest,
    most_relevant,
    relevance_of,
    wrong_pictures,
)

AUGMENTATION = VisualAugmentationConfig(share=0.25, nearest=3, curriculum_steps=0, least_perplexity=0.0)
SLOW = MomentumConfig(decay=0.9, soft_share=0.0)


def nas_model(*, begins: bool = True, **changes: float) -> PairModel:
    torch.manual_seed(0)
    dictionary = VisualDictionaryConfig(size=6, start_step=1, **changes)  # type: ignore[arg-type]
    model = dataclasses.replace(MODEL, visual_dictionary=dictionary).build(small_tokenizer().get_vocab_size())
    if begins and model.visual_dictionary is not None:
        model.visual_dictionary.advance(model.image_encoder(small_batch().pixels))
    return model


def edited_batch() -> PairBatch:
    batch = small_batch()
    ids = batch.ids[[0, 1, 3]].clone()
    ids[0, 2] = small_tokenizer().token_to_id("blue")
    ids[1, 3] = small_tokenizer().token_to_id("circle")
    ids[2, 1] = small_tokenizer().token_to_id("a")
    edits = EditedTexts(ids=ids, mask=batch.mask[[0, 1, 3]], rows=torch.tensor([0, 1, 3]))
    return dataclasses.replace(batch, edits=edits)


def features_of(model: PairModel, batch: PairBatch) -> PairFeatures:
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    if batch.edits is None:
        return features
    return dataclasses.replace(features, edited=model.encode_texts(batch.edits.ids, batch.edits.mask))


def test_relevance_is_the_mean_of_two_scaled_cosines():
    unit = F.normalize(torch.randn(2, 5, 4), dim=-1)
    text, image = (F.normalize(torch.randn(2, 4), dim=-1) for _ in range(2))
    found, weighed = (relevance_of(unit, text, image, text_share=share) for share in (0.5, 0.75))
    for pair in range(2):
        scaled = []
        for of in (text[pair], image[pair]):
            cosines = [float(patch @ of) for patch in unit[pair]]
            low, high = min(cosines), max(cosines)
            scaled.append([(cosine - low) / (high - low) for cosine in cosines])
        expected = [(a + b) / 2 for a, b in zip(*scaled, strict=True)]
        assert found[pair].tolist() == pytest.approx(expected, abs=1e-5)
        expected = [0.75 * a + 0.25 * b for a, b in zip(*scaled, strict=True)]
        assert weighed[pair].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_most_relevant_patches():
    relevance = torch.tensor([[0.1, 0.9, 0.3, 0.8], [0.7, 0.1, 0.2, 0.3]])
    assert most_relevant(relevance, 2).tolist() == [[False, True, False, True], [True, False, False, True]]


def test_a_blob_is_connected_and_grows_by_the_best_neighbour():
    relevance = torch.tensor([[0.9, 0.2, 0.8, 0.3, 0.1, 0.0, 0.4, 0.5, 0.7]])  # 3 x 3
    assert connected(relevance, 4, (3, 3))[0].nonzero().flatten().tolist() == [0, 3, 6, 7]
    generator = torch.Generator().manual_seed(0)
    for blob in connected(torch.rand(20, 64, generator=generator), 10, (8, 8)):
        places = {divmod(int(place), 8) for place in blob.nonzero()}
        assert len(places) == 10
        reached, left = {next(iter(places))}, set(places)
        while grown := {(r, c) for r, c in left if any(abs(r - a) + abs(c - b) <= 1 for a, b in reached)}:
            reached, left = reached | grown, left - grown
        assert reached == places


def test_each_code_has_one_target_in_a_picture_and_another_perhaps_in_the_next():
    torch.manual_seed(0)
    codes = torch.randint(6, (40, 20))
    is_exchanged = torch.rand(40, 20) < 0.5
    neighbours = torch.rand(6, 6).fill_diagonal_(-math.inf)
    targets = draw_targets(codes, is_exchanged, neighbours, nearest=3, sharpness=1.0)
    assert torch.equal(targets[~is_exchanged], codes[~is_exchanged])
    became: dict[tuple[int, int], set[int]] = {}
    for picture, patch in is_exchanged.nonzero().tolist():
        code, target = int(codes[picture, patch]), int(targets[picture, patch])
        assert target in neighbours[code].topk(3).indices.tolist()
        assert target != code
        became.setdefault((picture, code), set()).add(target)
    assert all(len(found) == 1 for found in became.values())
    of_code_0 = {next(iter(found)) for (_, code), found in became.items() if code == 0}
    assert len(of_code_0) > 1


def test_nearer_codes_are_drawn_more_often_and_dead_ones_never():
    torch.manual_seed(0)
    neighbours = torch.tensor([[-math.inf, 0.1 * math.log(3), 0.0, -math.inf]]).repeat(4, 1)
    codes = torch.zeros(4000, 1, dtype=torch.int64)
    targets = draw_targets(codes, torch.ones_like(codes, dtype=torch.bool), neighbours, nearest=3, sharpness=0.1)
    assert set(targets.flatten().tolist()) == {1, 2}
    assert (targets == 1).float().mean().item() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("is_residual", [True, False])
def test_kept_patches_carry_gradients_and_inserted_ones_do_not(is_residual: bool):
    tokens, vectors = torch.randn(2, 4, 3, requires_grad=True), torch.randn(5, 3)
    codes, targets = torch.tensor([[0, 1, 1, 2], [3, 0, 0, 4]]), torch.tensor([[0, 4, 4, 2], [3, 1, 1, 4]])
    changed = codes != targets
    found = exchanged(tokens, vectors, codes, targets, changed, is_residual=is_residual)
    wanted = torch.randn_like(found)
    (found * wanted).sum().backward()
    assert tokens.grad is not None
    torch.testing.assert_close(tokens.grad, wanted * ~changed[:, :, None])
    for pair, patch in itertools.product(range(2), range(4)):
        token, code, target = tokens[pair, patch], codes[pair, patch], targets[pair, patch]
        by_hand = token + vectors[target] - vectors[code] if is_residual else vectors[target]
        torch.testing.assert_close(found[pair, patch], by_hand if changed[pair, patch] else token)


def test_only_high_scores_are_rejected_and_at_most_a_share():
    logits = torch.tensor([4.0, -1.0, 2.0, 3.0])  # probabilities 0.98, 0.27, 0.88, 0.95
    assert accepted(logits, above=0.9, most=1.0).tolist() == [False, True, True, False]
    assert accepted(logits, above=0.9, most=0.25).tolist() == [False, True, True, True]
    assert accepted(logits, above=0.9, most=0.0).all()


def test_of_each_pairs_wrong_captions_the_one_most_like_its_picture():
    cosine = torch.tensor([0.1, 0.4, 0.3, 0.9, 0.2, -0.5])
    rows = torch.tensor([0, 0, 0, 5, 2, 2])
    assert hardest(cosine, rows, count=4).tolist() == [1, 4]  # none of pairs 1 and 3; pair 5 is beyond the count
    assert hardest(cosine, rows, count=6).tolist() == [1, 4, 3]


def test_the_loss_by_hand_each_group_averaged_apart():
    """Four right pairs, three wrong texts, four wrong pictures of which one is rejected."""
    model, batch = nas_model(), edited_batch()
    features = features_of(model, batch)
    config = NasConfig(text=0.5, visual=2.0, augmentation=dataclasses.replace(AUGMENTATION, most_rejected=0.25))
    torch.manual_seed(5)
    assert model.visual_dictionary is not None
    wrong = wrong_pictures(
        model.visual_dictionary, features, AUGMENTATION, grid=model.image_encoder.grid, nearest=3, count=4
    )
    scores = model.match(model.fuse(features.text_tokens, features.text_mask, wrong.tokens)).detach()
    threshold = torch.sigmoid(scores.sort().values[2:].mean()).item()  # the highest is above it, and no other
    config = dataclasses.replace(config, augmentation=dataclasses.replace(config.augmentation, reject_above=threshold))
    torch.manual_seed(5)
    output = config.build(model)(model, batch, features)
    assert features.edited is not None
    assert batch.edits is not None
    right = model.match(model.fuse(features.text_tokens, features.text_mask, features.image_tokens))
    texts = model.match(
        model.fuse(features.edited.tokens, features.edited.mask, features.image_tokens[batch.edits.rows])
    )
    kept = torch.tensor([float(score) for score in scores if score != scores.max()])
    assert len(kept) == 3

    def cost(logits: torch.Tensor, *, is_match: bool) -> float:
        return sum(math.log(1 + math.exp(-x if is_match else x)) for x in logits.tolist()) / len(logits)

    expected = cost(right, is_match=True) + 0.5 * cost(texts, is_match=False) + 2.0 * cost(kept, is_match=False)
    assert output.loss.item() == pytest.approx(expected, rel=1e-4)
    assert output.report["rejected"].item() == 0.25
    assert output.report["texts_below"].item() == pytest.approx(
        sum(bool(text < right[row]) for text, row in zip(texts, batch.edits.rows, strict=True)) / 3
    )


def test_quantised_positives_have_their_codes_in_the_same_places():
    model, batch = nas_model(share=0.5), small_batch()
    features = features_of(model, batch)
    augmentation = dataclasses.replace(AUGMENTATION, is_residual=False, quantised_positives=True)
    dictionary = model.visual_dictionary
    assert dictionary is not None
    wrong = wrong_pictures(dictionary, features, augmentation, grid=(4, 4), nearest=3, count=4)
    places = wrong.is_exchanged
    assert places.sum(dim=1).tolist() == [4, 4, 4, 4]
    torch.testing.assert_close(wrong.beside[places], dictionary.vectors[wrong.codes[places]])
    torch.testing.assert_close(wrong.tokens[places], dictionary.vectors[wrong.targets[places]])
    torch.testing.assert_close(wrong.beside[~places], features.image_tokens[~places])
    assert (wrong.targets[places] != wrong.codes[places]).all()


def test_the_momentum_model_says_which_wrong_pictures_are_right():
    model, batch = nas_model(), edited_batch()
    momentum = MomentumModel(model, SLOW)
    with torch.no_grad():  # a momentum model that finds nothing to match, whatever the model thinks
        momentum.model.fusion_encoder.norm.weight.zero_()  # type: ignore[union-attr]
        momentum.model.fusion_encoder.norm.bias.zero_()  # type: ignore[union-attr]
        score = model.match_head.score[2]
        score.bias.fill_(-5.0)  # type: ignore[union-attr]
    augmentation = dataclasses.replace(AUGMENTATION, reject_above=0.0, most_rejected=0.5)
    config = NasConfig(augmentation=augmentation, momentum=SLOW)
    rejected = config.build(model, momentum)(model, batch, features_of(model, batch)).report["rejected"]
    assert rejected.item() == 0.5  # every score is above 0: half, the most
    config = dataclasses.replace(config, augmentation=dataclasses.replace(augmentation, reject_above=0.5))
    output = config.build(model, momentum)(model, batch, features_of(model, batch))
    assert output.report["rejected"].item() == 0.0
    assert all(weight.grad is None for weight in momentum.model.parameters())


def test_the_curriculum_narrows_with_steps_that_showed_wrong_pictures():
    model, batch = nas_model(), edited_batch()
    objective = NasConfig(augmentation=dataclasses.replace(AUGMENTATION, curriculum_steps=4)).build(model)
    features = features_of(model, batch)
    assert [objective.nearest(101)] == [100]
    found = []
    for _ in range(5):
        objective(model, batch, features)
        objective.advance(model, features)
        found.append(objective.nearest(101))
    assert found == [76, 51, 27, 3, 3]
    again = NasConfig(augmentation=AUGMENTATION).build(model)
    again.load_state_dict(objective.state_dict())
    assert again.num_steps == 5


def test_pictures_are_exchanged_once_the_dictionary_says_enough():
    model, batch = nas_model(begins=False), edited_batch()
    objective = NasConfig(augmentation=AUGMENTATION).build(model)
    output = objective(model, batch, features_of(model, batch))
    objective.advance(model, features_of(model, batch))
    assert "pictures_right" not in output.report
    assert objective.num_steps == 0
    model = nas_model()
    strict = NasConfig(augmentation=dataclasses.replace(AUGMENTATION, least_perplexity=1.0)).build(model)
    assert "pictures_right" not in strict(model, batch, features_of(model, batch)).report
    strict.load_state_dict({"num_steps": torch.tensor(1)})  # once begun it goes on
    assert "pictures_right" in strict(model, batch, features_of(model, batch)).report
    output = NasConfig(augmentation=AUGMENTATION).build(model)(model, batch, features_of(model, batch))
    assert "pictures_right" in output.report


def test_wrong_words_serve_as_wrong_captions():
    model, batch = nas_model(), small_batch()
    ids = batch.ids.clone()
    ids[1, 2] = small_tokenizer().token_to_id("red")
    with_words = dataclasses.replace(batch, wrong_words=WrongWords(ids=ids, is_wrong=ids != batch.ids))
    config = NasConfig(visual=0.0)
    output = config.build(model)(model, with_words, features_of(model, with_words))
    features = features_of(model, batch)
    right = model.match(model.fuse(features.text_tokens, features.text_mask, features.image_tokens))
    tokens = model.encode_texts(ids[1:2], batch.mask[1:2]).tokens
    wrong = model.match(model.fuse(tokens, batch.mask[1:2], features.image_tokens[1:2]))
    torch.testing.assert_close(output.loss, F.softplus(-right).mean() + F.softplus(wrong).mean())
    with pytest.raises(ValueError, match="wrong captions"):
        config.build(model)(model, batch, features)


def test_a_few_steps_lower_the_loss_and_move_the_dictionary():
    model, batch = nas_model(begins=False), edited_batch()
    terms = (WeightedObjective(name="nas", objective=NasConfig(augmentation=AUGMENTATION)),)
    objective = ComposedObjective(terms, model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses, reports = [], []
    for step in range(25):
        features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
        output = objective(model, batch, features, step=step)
        optimizer.zero_grad()
        output.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        objective.advance(model, features)
        losses.append(output.loss.item())
        reports.append(output.report)
    assert losses[1] - losses[-1] > 0.3
    assert reports[0]["dictionary/perplexity"] == 0.0
    assert reports[-1]["dictionary/perplexity"] > 1.0
    assert reports[-1]["nas/steps_with_pictures"] == 23.0  # it begins after the first step, and counts afterwards


def test_encoding_in_parts_has_the_gradients_of_the_whole():
    batch = edited_batch()
    assert batch.edits is not None

    def gradients(parts: int) -> dict[str, torch.Tensor]:
        model = nas_model()
        encoding = PairsEncoding(model, batch, parts=parts, autocast=nullcontext)
        edited = model.encode_texts(batch.edits.ids, batch.edits.mask)  # type: ignore[union-attr]
        torch.manual_seed(3)
        objective = NasConfig(augmentation=AUGMENTATION).build(model)
        output = objective(model, batch, dataclasses.replace(encoding.features, edited=edited))
        output.loss.backward()  # type: ignore[no-untyped-call]
        encoding.backward()
        return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}

    whole, parts = gradients(1), gradients(2)
    assert whole.keys() == parts.keys()
    assert any(name.startswith("image_encoder.") for name in whole)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, atol=1e-5, rtol=1e-4)


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="VisualDictionaryConfig"):
        NasConfig().build(small_model())
    with pytest.raises(ValueError, match="momentum model"):
        NasConfig(momentum=SLOW).build(nas_model())
    with pytest.raises(ValueError, match="is_residual=False"):
        NasConfig(augmentation=dataclasses.replace(AUGMENTATION, quantised_positives=True)).build(nas_model())
    dual = dataclasses.replace(MODEL, fusion=None).build(small_tokenizer().get_vocab_size())
    with pytest.raises(ValueError, match="fusion encoder"):
        NasConfig().build(dual)
