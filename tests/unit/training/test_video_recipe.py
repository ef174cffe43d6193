"""Videos in training: pooled for contrast, side by side for matching, and going on from a model of pictures."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from training.checkpoint import load_trained
from training.data.video_pairs import MOTION_WORDS, VideoPairsConfig
from training.model.fusion_encoder import FusionConfig
from training.model.image_encoder import ConvPatchConfig
from training.model.text_encoder import TextEncoderConfig
from training.recipes import baseline, video
from training.train import load_recipe, run

DATA = VideoPairsConfig(world="small", size_px=32, num_frames=3)
SMALL = dataclasses.replace(
    baseline.ablation().model,
    image=ConvPatchConfig(
        size_px=32, stem_channels=(8, 16), stem_strides=(2, 4), stem_blocks=(0, 0), width=32, depth=1, heads=2
    ),
    text=TextEncoderConfig(width=32, depth=1, heads=2),
    fusion=FusionConfig(depth=1, heads=2),
    dim=32,
)


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch):
    """Both recipes with a model of a few thousand weights."""
    whole = dataclasses.replace(
        baseline.ablation(), model=SMALL, batch_size=4, num_workers=0, validation_pairs=8, precision="fp32"
    )
    pictures = dataclasses.replace(whole, data=dataclasses.replace(whole.data, size_px=32))
    monkeypatch.setattr(baseline, "ablation", lambda: pictures)
    monkeypatch.setattr(video, "VideoPairsConfig", lambda **_: DATA)


def test_the_recipes_are_whole():
    for name in ("tiny", "ablation"):
        config = load_recipe(f"training.recipes.video:{name}")
        assert config.model.num_frames == config.data.num_frames
        model = config.model.build(100)
        assert model.frame_vectors.shape == (4, model.image_encoder.width)


def test_a_video_is_pooled_for_contrast_and_its_frames_stand_side_by_side_for_matching():
    torch.manual_seed(0)
    model = dataclasses.replace(SMALL, num_frames=3).build(50).eval()
    pixels = torch.randn(2, 3, 3, 32, 32)
    found = model.encode_images(pixels)
    each = [model.encode_images(pixels[:, at]) for at in range(3)]
    mean = F.normalize(sum(one.embedding for one in each), dim=-1)
    torch.testing.assert_close(found.embedding, mean, atol=1e-5, rtol=1e-5)
    for at, one in enumerate(each):
        own = found.tokens[:, 16 * at : 16 * (at + 1)]
        torch.testing.assert_close(own, one.tokens + model.frame_vectors[at], atol=1e-5, rtol=1e-5)
    backwards = model.encode_images(pixels.flip(1))
    torch.testing.assert_close(backwards.embedding, found.embedding, atol=1e-5, rtol=1e-5)
    words, mask = torch.randn(2, 4, 32), torch.ones(2, 4, dtype=torch.bool)
    forth, back = (model.match(model.fuse(words, mask, one.tokens)) for one in (found, backwards))
    assert not torch.allclose(forth, back)  # matching can tell the way, contrast cannot


def test_training_goes_on_from_pictures_and_learns_words_for_motion(recipes, tmp_path: Path):
    start = run("training.recipes.baseline:ablation", workdir=tmp_path / "pictures", max_steps=1)
    checkpoint = run(
        "training.recipes.video:ablation", workdir=tmp_path / "videos", max_steps=3, num_steps=10, start_from=start
    )
    before, after = load_trained(start), load_trained(checkpoint)
    known, now = before.tokenizer.get_vocab(), after.tokenizer.get_vocab()
    assert now.keys() - known.keys() == set(MOTION_WORDS) - known.keys()
    assert all(now[word] == number for word, number in known.items())
    assert after.tokenizer.encode("a red circle moves left").tokens[1:-1] == "a red circle moves left".split()
    for name, value in before.model.state_dict().items():
        trained = after.model.state_dict()[name]
        assert trained[: len(value)].shape == value.shape if value.ndim else True
        assert (trained[: len(value)] if value.ndim else trained).sub(value).abs().max() < 0.02, name


def test_captions_turned_round_come_with_a_share_of_a_batch():
    source = DATA.open(None, tokenizer=DATA.tokenizer(None), batch_size=4, seed=0)
    batch, again = source[5], source[5]
    assert batch.pixels.shape == (4, 3, 3, 32, 32)
    assert torch.equal(batch.pixels, again.pixels)
    assert batch.edits is not None
    assert batch.edits.rows.tolist() == [0, 1]
    differ = (batch.edits.ids != batch.ids[:2]).sum(dim=1)
    assert differ.tolist() == [1, 1]
    assert len(source.held_out(5)) == 5
