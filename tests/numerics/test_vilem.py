"""ViLEM's losses by hand, and which weights each crossed pass trains."""

import dataclasses
import math

import pytest
import torch

from tests.numerics.small import MODEL, small_batch, small_model, small_tokenizer
from training.data.batch import PairBatch, WrongWords
from training.model import PairModel, ProofReaderConfig
from training.model.momentum import MomentumConfig, MomentumModel
from training.objectives import ComposedObjective, ItcConfig, VilemConfig, WeightedObjective
from training.objectives.vilem import correction_loss, detection_loss

CROSSED = MomentumConfig(decay=0.9, soft_share=0.0)
TEXT_SIDE = ("text_encoder.", "proof_reader.")
IMAGE_SIDE = ("image_encoder.", "image_projection.")


def reading_model(**branches: bool) -> PairModel:
    torch.manual_seed(0)
    config = dataclasses.replace(MODEL, proof_reader=ProofReaderConfig(heads=2, **branches))
    return config.build(small_tokenizer().get_vocab_size())


def edited_batch(replaced: tuple[tuple[int, int, str], ...] = ((0, 2, "blue"), (1, 3, "circle"))) -> PairBatch:
    """Captions in which words are replaced: (row, position, word)."""
    batch = small_batch()
    ids = batch.ids.clone()
    for row, position, word in replaced:
        ids[row, position] = small_tokenizer().token_to_id(word)
    return dataclasses.replace(batch, wrong_words=WrongWords(ids=ids, is_wrong=ids != batch.ids))


def loss_of(model: PairModel, batch: PairBatch, config: VilemConfig, momentum: MomentumModel | None) -> torch.Tensor:
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    return config.build(model, momentum)(model, batch, features).loss


def test_detection_is_a_sum_over_words_divided_by_the_wrong_ones():
    logits = torch.tensor([[0.0, 2.0, -1.0], [3.0, 0.5, 9.0]])
    is_wrong = torch.tensor([[False, True, False], [True, False, False]])
    is_word = torch.tensor([[True, True, True], [True, True, False]])

    def cost(logit: float, wrong: bool) -> float:
        probability = 1 / (1 + math.exp(-logit))
        return -math.log(probability if wrong else 1 - probability)

    words = [(0.0, False), (2.0, True), (-1.0, False), (3.0, True), (0.5, False)]
    expected = sum(cost(*word) for word in words) / 2
    assert detection_loss(logits, is_wrong, is_word).item() == pytest.approx(expected, rel=1e-6)


def test_without_a_wrong_word_detection_is_divided_by_one_and_nothing_is_corrected():
    logits, nothing = torch.tensor([[0.0, 0.0]], requires_grad=True), torch.zeros(1, 2, dtype=torch.bool)
    assert detection_loss(logits, nothing, ~nothing).item() == pytest.approx(2 * math.log(2))
    guesses = torch.zeros(0, 5, requires_grad=True)
    loss = correction_loss(guesses, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0


def test_correction_is_the_mean_over_wrong_words():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    words = torch.tensor([0, 2])
    expected = [math.log(math.exp(2) + 2) - 2, math.log(math.exp(1) + 2)]
    assert correction_loss(logits, words).item() == pytest.approx(sum(expected) / 2, rel=1e-6)


def test_whole_loss_by_hand():
    """Four readings: two branches, in each the mean of both crossed passes."""
    model, batch = reading_model(), edited_batch()
    momentum = MomentumModel(model, CROSSED)
    with torch.no_grad():
        for weight in momentum.model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    config = VilemConfig(momentum=CROSSED, global_share=0.3, detection=0.5, correction=2.0)
    found = loss_of(model, batch, config, momentum)

    wrong_words = batch.wrong_words
    assert wrong_words is not None
    judged = batch.mask.clone()
    judged[:, 0] = False  # [CLS]
    judged[torch.arange(4), batch.mask.sum(dim=1) - 1] = False  # [SEP]
    expected = 0.0
    for reader, seer in ((model, momentum.model), (momentum.model, model)):
        image = seer.encode_images(batch.pixels).levels
        assert image is not None
        for name, tokens in reader.proof_tokens(wrong_words.ids, batch.mask, image).items():
            errors = torch.sigmoid(reader.word_errors(tokens))
            right = torch.where(wrong_words.is_wrong, errors, 1 - errors)
            detection = -(right.log() * judged).sum() / 2
            guesses = torch.softmax(reader.corrections(tokens), dim=-1)
            blue, circle = guesses[0, 2, batch.ids[0, 2]], guesses[1, 3, batch.ids[1, 3]]
            correction = -(blue.log() + circle.log()) / 2
            share = {"local": 0.7, "global": 0.3}[name]
            expected += share * (0.5 * detection + 2.0 * correction) / 2
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-4, atol=1e-5)


def trained_by(model: PairModel, loss: torch.Tensor) -> set[str]:
    """Names of weights that the loss moves."""
    model.zero_grad()
    loss.backward()
    return {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}


def test_each_crossed_pass_trains_its_own_side_alone():
    model, batch = reading_model(), edited_batch()
    momentum = MomentumModel(model, CROSSED)
    objective = VilemConfig(momentum=CROSSED).build(model, momentum)
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    first, second = objective._passes(model, features, objective._slow_features(batch), len(batch.ids))
    assert batch.wrong_words is not None

    def loss(reader: PairModel, image: object) -> torch.Tensor:
        tokens = reader.proof_tokens(batch.wrong_words.ids, batch.mask, image)  # type: ignore[union-attr,arg-type]
        return torch.stack(
            [reader.word_errors(t).sum() + reader.corrections(t).square().sum() for t in tokens.values()]
        )

    text_side = trained_by(model, loss(*first).sum())
    assert text_side
    assert all(name.startswith(TEXT_SIDE) for name in text_side)
    for part in ("words.weight", "blocks.0.attention.query.weight", "norm.weight"):
        assert f"text_encoder.{part}" in text_side
    for part in ("crossings.0.attention.key_value.weight", "fit_summary.weight", "error_head.score.0.weight"):
        assert f"proof_reader.{part}" in text_side

    image_side = trained_by(model, loss(*second).sum())
    assert image_side
    assert all(name.startswith(IMAGE_SIDE) for name in image_side)
    assert "image_encoder.stem.0.weight" in image_side  # through the blocks
    assert "image_projection.project.weight" in image_side  # through the summary
    assert all(weight.grad is None for weight in momentum.model.parameters())


def test_the_local_branch_does_not_train_the_embedding():
    model, batch = reading_model(has_global=False), edited_batch()
    trained = trained_by(model, loss_of(model, batch, VilemConfig(momentum=CROSSED), MomentumModel(model, CROSSED)))
    assert any(name.startswith("image_encoder.") for name in trained)
    assert not any(name.startswith(("image_projection.", "text_projection.")) for name in trained)


@pytest.mark.parametrize(
    ("weights", "untrained"), [({"correction": 0.0}, "correction_head"), ({"detection": 0.0}, "error_head")]
)
def test_either_loss_may_be_left_out(weights: dict[str, float], untrained: str):
    model, batch = reading_model(), edited_batch()
    trained = trained_by(model, loss_of(model, batch, VilemConfig(**weights), None))  # type: ignore[arg-type]
    assert any(name.startswith("proof_reader.") for name in trained)
    assert not any(name.startswith(f"proof_reader.{untrained}") for name in trained)


def test_without_momentum_one_pass_trains_both_sides():
    model, batch = reading_model(), edited_batch()
    trained = trained_by(model, loss_of(model, batch, VilemConfig(), None))
    for part in (*TEXT_SIDE, *IMAGE_SIDE):
        assert any(name.startswith(part) for name in trained)


def test_a_batch_of_right_captions_trains_the_detection_alone():
    model, batch = reading_model(), edited_batch(replaced=())
    trained = trained_by(model, loss_of(model, batch, VilemConfig(), None))
    assert "proof_reader.error_head.score.0.weight" in trained
    assert not any(name.startswith("proof_reader.correction_head") for name in trained)


def test_only_the_first_pairs():
    model, batch = reading_model(), edited_batch(((0, 2, "blue"), (3, 1, "a")))
    every, first = VilemConfig(), VilemConfig(max_pairs=1)
    alone = PairBatch(
        pixels=batch.pixels[:1],
        ids=batch.ids[:1],
        mask=batch.mask[:1],
        caption_keys=batch.caption_keys[:1],
        special=batch.special,
        texts=batch.texts[:1],
        wrong_words=batch.wrong_words.first(1) if batch.wrong_words else None,
    )
    torch.testing.assert_close(loss_of(model, batch, first, None), loss_of(model, alone, every, None))


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="ProofReaderConfig"):
        VilemConfig().build(small_model())
    model = reading_model()
    with pytest.raises(ValueError, match="momentum model"):
        VilemConfig(momentum=CROSSED).build(model)
    with pytest.raises(ValueError, match="WrongWordsConfig"):
        loss_of(model, small_batch(), VilemConfig(), None)


def test_shares_the_momentum_model_of_contrast():
    model, batch = reading_model(), edited_batch()
    terms = (
        WeightedObjective(name="itc", objective=ItcConfig(momentum=CROSSED)),
        WeightedObjective(name="vilem", objective=VilemConfig(momentum=CROSSED)),
    )
    objective = ComposedObjective(terms, model)
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    output = objective(model, batch, features, step=0)
    torch.testing.assert_close(output.loss, output.parts["itc"] + output.parts["vilem"])
    assert {"vilem/local", "vilem/global", "vilem/local_found", "vilem/global_corrected"} <= set(output.report)
