"""The momentum model and the queue: how they move, what they hold, and that a resumed run cannot tell."""

import logging

import pytest
import torch

from tests.numerics.small import small_batch, small_model
from training.model.momentum import MomentumConfig, MomentumModel
from training.objectives import ComposedObjective, ItcConfig, ItmConfig, MlmConfig, WeightedObjective
from training.objectives.mlm import mlm_loss
from training.objectives.queue import Candidates, PairQueue

MOMENTUM = MomentumConfig(decay=0.9, soft_share=0.4, soft_warmup_steps=4)
TERMS = (
    WeightedObjective(name="itc", objective=ItcConfig(momentum=MOMENTUM, queue_size=8)),
    WeightedObjective(name="itm", objective=ItmConfig(), start_step=1),
    WeightedObjective(name="mlm", objective=MlmConfig(momentum=MOMENTUM)),
)


def candidates(keys: list[int], fill: float = 0.0) -> Candidates:
    return Candidates(
        image=torch.full((len(keys), 2), fill), text=torch.full((len(keys), 2), -fill), caption_keys=torch.tensor(keys)
    )


def train(model, objective, optimizer, steps, first=0):
    """A few plain steps: the losses."""
    losses = []
    for step in range(first, first + steps):
        torch.manual_seed(step)
        batch = small_batch(seed=step)
        features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
        loss = objective(model, batch, features, step=step).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            objective.advance(model, features)
        losses.append(loss.item())
    return losses


def test_the_copy_moves_by_its_decay_and_has_no_match_head():
    model = small_model()
    momentum = MomentumModel(model, MomentumConfig(decay=0.75))
    before = {name: value.clone() for name, value in momentum.model.state_dict().items()}
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value))
    momentum.advance(model)
    online = model.state_dict()
    for name, value in momentum.model.state_dict().items():
        torch.testing.assert_close(value, 0.75 * before[name] + 0.25 * online[name])
    assert {name for name in online if name not in before} == {n for n in online if n.startswith("match_head.")}
    assert not any(value.requires_grad for value in momentum.model.parameters())


def test_computing_a_loss_moves_nothing():
    model, batch = small_model(), small_batch()
    objective = ComposedObjective(TERMS, model)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    objective(model, batch, model.encode_pairs(batch.pixels, batch.ids, batch.mask), step=5)
    for name, value in objective.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_one_pass_of_the_copy_serves_all_objectives(monkeypatch: pytest.MonkeyPatch):
    model, batch = small_model(), small_batch()
    objective = ComposedObjective(TERMS, model)
    assert objective.momentum is not None
    objective.momentum.num_steps = 4
    passes: list[int] = []
    encode = objective.momentum.model.encode_images
    monkeypatch.setattr(objective.momentum.model, "encode_images", lambda p: passes.append(len(p)) or encode(p))
    objective(model, batch, model.encode_pairs(batch.pixels, batch.ids, batch.mask), step=5)
    assert passes == [4]


def test_without_momentum_no_copy_is_made():
    model = small_model()
    objective = ComposedObjective((WeightedObjective(name="itc", objective=ItcConfig()),), model)
    assert objective.momentum is None
    assert objective.state_dict() == {}


def test_gradients_pass_through_the_copy_but_not_into_it():
    """What ViLEM's crossed passes need: frozen weights, live inputs."""
    model, batch = small_model(), small_batch()
    momentum = MomentumModel(model, MOMENTUM)
    image = model.encode_images(batch.pixels)
    text = momentum.model.encode_texts(batch.ids, batch.mask)
    momentum.model.fuse(text.tokens, batch.mask, image.tokens).tokens.sum().backward()
    assert next(model.image_encoder.parameters()).grad is not None
    assert all(value.grad is None for value in momentum.model.parameters())
    assert all(value.grad is None for value in model.text_encoder.parameters())


def test_the_soft_share_rises_with_the_steps():
    momentum = MomentumModel(small_model(), MOMENTUM)
    shares = []
    for _ in range(6):
        shares.append(momentum.soft_share)
        momentum.advance(small_model())
    assert shares == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.4])


def test_a_resumed_run_gives_the_same_losses_bit_for_bit():
    model = small_model()
    objective, optimizer = ComposedObjective(TERMS, model), torch.optim.SGD(model.parameters(), lr=0.05)
    train(model, objective, optimizer, 3)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state = {name: value.clone() for name, value in objective.state_dict().items()}
    expected = train(model, objective, optimizer, 3, first=3)
    other = small_model(seed=9)
    resumed = ComposedObjective(TERMS, other)
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    assert train(other, resumed, torch.optim.SGD(other.parameters(), lr=0.05), 3, first=3) == expected


def test_two_different_copies_are_refused():
    terms = (
        WeightedObjective(name="itc", objective=ItcConfig(momentum=MomentumConfig(decay=0.9))),
        WeightedObjective(name="mlm", objective=MlmConfig(momentum=MomentumConfig(decay=0.8))),
    )
    with pytest.raises(ValueError, match="itc, mlm want different momentum"):
        ComposedObjective(terms, small_model())


@pytest.mark.parametrize("changes", [{"decay": 1.0}, {"decay": -0.1}, {"soft_share": 1.1}])
def test_impossible_momentum_is_refused(changes: dict[str, float]):
    with pytest.raises(ValueError, match=r"decay .* must be"):
        MomentumModel(small_model(), MomentumConfig(**changes))


def test_momentum_configured_but_not_given_is_refused():
    with pytest.raises(ValueError, match="needs the momentum model"):
        ItcConfig(momentum=MOMENTUM).build(small_model())
    with pytest.raises(ValueError, match="needs the momentum model"):
        MlmConfig(momentum=MOMENTUM).build(small_model())
    with pytest.raises(ValueError, match="give ItcConfig a MomentumConfig"):
        ItcConfig(queue_size=8).build(small_model())


def test_a_run_too_short_for_the_decay_is_warned_of(caplog: pytest.LogCaptureFixture):
    momentum = MomentumModel(small_model(), MomentumConfig(decay=0.995))
    momentum.warn_of_short_run(5000)
    assert not caplog.records
    ComposedObjective(TERMS, small_model(), num_steps=100)
    assert "set decay to 0.75 or less" in caplog.text


def test_the_queue_keeps_the_newest_in_place_of_the_oldest():
    queue = PairQueue(4, 2, device=torch.device("cpu"))
    assert queue.behind(candidates([1, 2])).caption_keys.tolist() == [1, 2]
    queue.advance()
    assert queue.behind(candidates([3, 4], 3.0)).caption_keys.tolist() == [3, 4, 1, 2]
    queue.advance()
    assert queue.num_filled == 4
    seen = queue.behind(candidates([5, 6], 5.0))
    assert seen.caption_keys.tolist() == [5, 6, 1, 2, 3, 4]
    queue.advance()
    seen = queue.behind(candidates([7, 8]))
    assert seen.caption_keys.tolist() == [7, 8, 5, 6, 3, 4]
    assert seen.image[2].tolist() == [5.0, 5.0]
    assert seen.text[4].tolist() == [-3.0, -3.0]


def test_all_parts_of_a_step_enter_the_queue_together():
    """Gradient accumulation: several batches, one step; within it none is another's candidate."""
    queue = PairQueue(8, 2, device=torch.device("cpu"))
    queue.behind(candidates([1, 2]))
    assert queue.behind(candidates([3, 4])).caption_keys.tolist() == [3, 4]
    queue.advance()
    assert queue.behind(candidates([5, 6])).caption_keys.tolist() == [5, 6, 1, 2, 3, 4]


def test_a_queue_that_steps_do_not_divide_is_refused_with_the_size_to_set():
    queue = PairQueue(10, 2, device=torch.device("cpu"))
    queue.behind(candidates([1, 2, 3, 4]))
    with pytest.raises(ValueError, match=r"10 places are not a multiple of the 4 pairs .* set queue_size to 8"):
        queue.advance()


def test_a_queue_of_repeated_captions_is_warned_of(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING)
    queue = PairQueue(8, 2, device=torch.device("cpu"))
    for keys in ([1, 2, 3, 4], [5, 6, 7, 8]):
        queue.behind(candidates(keys))
        queue.advance()
    assert not caplog.records
    queue = PairQueue(8, 2, device=torch.device("cpu"))
    for keys in ([1, 2, 3, 4], [1, 2, 3, 5]):
        queue.behind(candidates(keys))
        queue.advance()
    assert "38 % of the queue's 8 captions repeat" in caplog.text


def test_an_equal_caption_in_the_queue_is_a_right_answer():
    """With the same pairs in batch and queue, and the same embeddings, the loss has nothing left to push apart."""
    model = small_model()
    batch = small_batch(("a red circle",) * 4)
    config = ItcConfig(momentum=MomentumConfig(soft_share=0.0), queue_size=4)
    assert config.momentum is not None
    momentum = MomentumModel(model, config.momentum)
    itc = config.build(model, momentum)
    features = model.encode_pairs(batch.pixels, batch.ids, batch.mask)
    itc(model, batch, features)
    itc.advance(model, features)
    assert itc.queue.num_filled == 4
    output = itc(model, batch, features)
    image_to_text = output.loss.item() * 2
    scores = features.text_embedding @ momentum.pairs(batch).image_embedding.repeat(2, 1).T / features.temperature
    text_to_image = -(torch.log_softmax(scores, dim=1) / 8).sum(dim=1).mean().item()
    # all eight candidate texts are equal, so image to text is the logarithm of their number
    assert image_to_text - text_to_image == pytest.approx(torch.tensor(8.0).log().item(), abs=1e-4)
    assert output.report["queue"].item() == 1.0


def test_soft_targets_of_masked_words_by_hand():
    logits = torch.tensor([[0.3, -0.2, 1.0]], dtype=torch.float64)
    slow = torch.tensor([[1.0, 0.0, 2.0]], dtype=torch.float64)
    log_shares = torch.log_softmax(logits, dim=1)[0]
    target = 0.6 * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64) + 0.4 * torch.softmax(slow, dim=1)[0]
    loss = mlm_loss(logits, torch.tensor([1]), slow_logits=slow, soft_share=0.4)
    assert loss.item() == pytest.approx(-(target * log_shares).sum().item(), abs=1e-12)
