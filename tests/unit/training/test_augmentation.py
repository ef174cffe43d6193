"""Augmentation: captions stay true of what is left of their pictures, and the same sample is always done alike."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import scenes
from runtime.errors import UsageError
from scenes.worlds import SMALL_WORLD, WORLD
from training.data import distortions
from training.data.augmentation import NOTHING, AugmentationConfig, allowed, distorted, may_be_flipped
from training.data.distortions import DISTORTIONS, Box
from training.data.jsonl_pairs import JsonlPairsConfig
from training.data.listed_pairs import ListedPairs
from training.data.scene_pairs import ScenePairs, ScenePairsConfig
from training.data.wrong_words import WrongWordsConfig

ALWAYS = AugmentationConfig(distorted_share=1.0)
COLOURING = {"hue", "greyscale", "channels", "saturation", "brightness", "contrast"}


def names(*texts: str) -> set[str]:
    return {distortion.name for distortion in allowed(texts)}


EVERYTHING = names("")

# captions as people write them, and what must not be done to their pictures
CAPTIONS: Sequence[tuple[str, set[str]]] = (
    ("A dog jumps into the water.", set()),
    ("A man in a red shirt climbs a rock.", COLOURING),
    ("A woman stands to the left of her bicycle.", {"flip", "crop"}),
    ("Two children play in the mud.", {"crop"}),
    ("3 surfers wait for a wave.", {"crop"}),
    ("A stop sign at a crossing.", {"flip", "blur", "noise"}),
    ("A street at night.", {"channels", "saturation", "brightness", "contrast"}),
    ("A girl wears a striped dress.", {"blur", "noise"}),
    ("A boy with blond hair is smiling.", COLOURING | {"blur", "noise"}),
    ("It is snowing on a crowd of people.", {"noise", "crop"}),
    ("An old barn, seen from far away.", {"crop"}),
    ("A dark-haired singer holds a microphone.", {"channels", "saturation", "brightness", "contrast"}),
    ("A left-handed pitcher throws.", {"flip", "crop"}),
    ("The whole team is there.", {"crop"}),
    ("A tiny kitten sleeps.", {"crop"}),
    ("Ein kleiner Hund läuft über die Straße.", EVERYTHING),
    ("一只狗", EVERYTHING),
)


@pytest.mark.parametrize(("caption", "refused"), CAPTIONS)
def test_captions_keep_their_pictures(caption: str, refused: set[str]) -> None:
    assert not names(caption) & refused
    assert not names(caption.upper()) & refused
    assert not names("A dog runs.", caption) & refused  # any caption of the picture counts


def test_what_says_nothing_of_it_allows_everything() -> None:
    assert names("A dog jumps.") == EVERYTHING == {distortion.name for distortion in DISTORTIONS}


def test_every_word_of_drawn_scenes_is_known() -> None:
    for world in (WORLD, SMALL_WORLD):
        for words, known in (
            ([colour.words for colour in world.colours.values()], distortions.COLOURS),
            ([size.words for size in world.sizes.values()], distortions.SIZES),
            (world.patterns.values(), distortions.DETAILS),
            (world.counts.values(), distortions.COUNTS),
            ([world.state_words.get("unlit", ()), world.state_words.get("lit", ())], distortions.SHADES),
            ([world.state_words.get("sad", ()), world.state_words.get("happy", ())], distortions.DETAILS),
        ):
            assert {word for several in words for word in several} <= known
    for relation in WORLD.relations.values():
        said = {word for form in relation.forms for word in form[1].split()}
        assert said & distortions.PLACES, relation


@settings(max_examples=150, deadline=None)
@given(index=st.integers(0, 10_000))
def test_drawn_captions_stay_true(index: int) -> None:
    """Against the scene itself, not its words: what is said of it decides what is allowed."""
    scene = scenes.generate(7, index, size_px=64)
    possible = names(scene.caption)
    mirrored = {"left", "right", "left-of-both", "right-of-both"}
    if mirrored & {edge.relation for edge in scene.edges}:
        assert "flip" not in possible
    if scene.edges or any(mention.says_size or mention.says_count for mention in scene.draft.plan.mentions):
        assert "crop" not in possible
    assert not possible & COLOURING  # every mention names a colour
    if any(mention.says_pattern for mention in scene.draft.plan.mentions):
        assert "blur" not in possible


@settings(max_examples=60, deadline=None)
@given(
    boxes=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=3),
    seed=st.integers(0, 999),
    side=st.sampled_from([16, 64, 65]),
)
def test_a_crop_keeps_the_boxes_and_most_of_the_picture(
    boxes: list[tuple[float, float, float, float]], seed: int, side: int
) -> None:
    keep: list[Box] = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in boxes]
    across, down = np.meshgrid(np.arange(side), np.arange(side))
    picture = Image.fromarray(np.stack([across, down, across * 0], axis=2).astype(np.uint8))
    (crop,) = (distortion for distortion in DISTORTIONS if distortion.name == "crop")
    left = np.asarray(crop.apply(picture, np.random.default_rng(seed), keep)).astype(int)
    assert min(left.shape[:2]) >= 0.75 * side - 1
    for x0, y0, x1, y1 in keep:
        assert left[..., 0].min() <= x0 * side + 1e-6
        assert left[..., 1].min() <= y0 * side + 1e-6
        assert left[..., 0].max() + 1 >= x1 * side - 1e-6
        assert left[..., 1].max() + 1 >= y1 * side - 1e-6


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=lambda distortion: distortion.name)
def test_every_distortion_changes_the_picture_and_only_by_its_seed(distortion: distortions.Distortion) -> None:
    picture = scenes.generate(1, 3, size_px=64).image
    results = [
        np.asarray(distortion.apply(picture, np.random.default_rng(seed), ()).resize((64, 64))) for seed in (4, 4, 5)
    ]
    assert np.array_equal(results[0], results[1])
    assert any(not np.array_equal(result, np.asarray(picture)) for result in results)
    assert results[0].shape == (64, 64, 3)


def test_a_flip_is_a_mirror_and_grey_has_no_colour() -> None:
    picture = scenes.generate(1, 4, size_px=64).image
    by_name = {distortion.name: distortion for distortion in DISTORTIONS}
    rng = np.random.default_rng(0)
    assert np.array_equal(by_name["flip"].apply(picture, rng, ()), ImageOps.mirror(picture))
    grey = np.asarray(by_name["greyscale"].apply(picture, rng, ()))
    assert (grey == grey[..., :1]).all()


def test_how_many_are_distorted() -> None:
    picture = scenes.generate(1, 5, size_px=64).image
    assert distorted(picture, ["a dog"], NOTHING, seed=(1,)) is picture
    half = AugmentationConfig(distorted_share=0.5)
    kept = sum(distorted(picture, ["a dog"], half, seed=(1, at)) is picture for at in range(400))
    assert 150 < kept < 250
    assert distorted(picture, ["ein Mädchen"], ALWAYS, seed=(1,)) is picture
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            AugmentationConfig(distorted_share=share)
    with pytest.raises(ValueError, match="at least 1"):
        AugmentationConfig(most_distortions=0)


def source(augmentation: AugmentationConfig, batch_size: int = 8, **settings_: object) -> ScenePairs:
    config = ScenePairsConfig(size_px=32, augmentation=augmentation, **settings_)  # type: ignore[arg-type]
    return config.open(None, tokenizer=config.tokenizer(None), batch_size=batch_size, seed=3)


def test_a_sample_is_distorted_alike_however_batches_are_cut() -> None:
    """Another division of the sequence gives the same pictures and the same hidden words, whatever their neighbours."""
    both = AugmentationConfig(distorted_share=1.0, masked_share=0.3)
    whole = source(both)[1]
    parts = [source(both, batch_size=4)[step] for step in (2, 3)]
    assert torch.equal(whole.pixels, torch.cat([part.pixels for part in parts]))
    for row in range(8):
        part, at = parts[row // 4], row % 4
        length = int(whole.mask[row].sum())
        assert torch.equal(whole.ids[row, :length], part.ids[at, :length])
    assert not torch.equal(whole.pixels, source(NOTHING)[1].pixels)


def test_hidden_words_of_a_batch() -> None:
    plain, hidden = source(NOTHING)[0], source(AugmentationConfig(masked_share=0.4))[0]
    assert hidden.hidden is not None
    assert plain.hidden is None
    assert torch.equal(hidden.hidden.ids, plain.ids)
    assert torch.equal(hidden.ids[~hidden.hidden.chosen], plain.ids[~hidden.hidden.chosen])
    assert torch.equal(hidden.pixels, plain.pixels)
    assert torch.equal(hidden.caption_keys, plain.caption_keys)
    assert hidden.hidden.chosen.any(dim=1).all()
    assert (hidden.ids == plain.special.mask).any()


def test_short_queries_are_left_whole() -> None:
    batch = source(AugmentationConfig(masked_share=0.4), short_share=0.5)[0]
    assert batch.hidden is not None
    assert batch.hidden.chosen[:4].any(dim=1).all()
    assert not batch.hidden.chosen[4:].any()


def test_edited_captions_count_for_their_pictures() -> None:
    """A picture whose edited caption says "left" is not flipped, or the wrong caption could become right."""
    for index in range(40):
        scene = scenes.generate(3, index, size_px=32)
        edit = scenes.edit_caption(scene, np.random.default_rng((3, index))).caption
        assert may_be_flipped([scene.caption, edit]) <= may_be_flipped([edit])
    mirrored = dataclasses.replace(ALWAYS, most_distortions=len(DISTORTIONS))
    assert source(mirrored, edited_share=1.0)[0].edits is not None


def test_masked_and_wrong_words_are_not_mixed() -> None:
    config = {"wrong_words": WrongWordsConfig(is_uniform=True)}
    with pytest.raises(UsageError, match="not both"):
        source(AugmentationConfig(masked_share=0.2), **config)[0]


def photos(folder: Path, captions: Sequence[str], augmentation: AugmentationConfig | None = None) -> ListedPairs:
    """Pictures of drawn scenes in files, each with its caption, read two at a time."""
    (folder / "images").mkdir(exist_ok=True)
    for at in range(len(captions)):
        scenes.generate(1, at, size_px=48).image.save(folder / "images" / f"{at}.png")
    lines = [{"image": f"{at}.png", "captions": [caption]} for at, caption in enumerate(captions)]
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = JsonlPairsConfig(size_px=32, least_held_out=0)
    if augmentation is not None:
        config = dataclasses.replace(config, augmentation=augmentation)
    return config.open(folder, tokenizer=config.tokenizer(folder), batch_size=2, seed=5)


def test_files_are_distorted_anew_in_every_epoch_and_alike_when_asked_again(tmp_path: Path) -> None:
    source_of_files = photos(tmp_path, ["a dog runs", "a cat"], ALWAYS)
    epochs = []
    for step in range(4):
        batch = source_of_files[step]
        assert torch.equal(batch.pixels, photos(tmp_path, ["a dog runs", "a cat"], ALWAYS)[step].pixels)
        epochs.append(dict(zip(batch.sample_ids, batch.pixels, strict=True)))
    for name in epochs[0]:
        assert len({epoch[name].numpy().tobytes() for epoch in epochs}) > 2


def test_files_are_distorted_by_default_and_never_against_their_caption(tmp_path: Path) -> None:
    """Words that rule out every distortion but a little light leave the pictures nearly as they are."""
    caption = "two tiny red striped letters on the left at night in snow"
    assert names(caption) == {"exposure"}
    plain = photos(tmp_path, [caption] * 2, NOTHING)
    own = photos(tmp_path, [caption] * 2)
    changed = 0
    for step in range(6):
        was, became = ((source[step].pixels + 1) / 2 for source in (plain, own))
        changed += not torch.equal(was, became)
        assert (became - was).abs().max() < 0.13
    assert changed > 2
