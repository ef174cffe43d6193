import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.retrieval import rank, summarise


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute_force(images, texts, text_image):
    """Ranks by the plain definition, ties lost."""
    scores = images.astype(np.float64) @ texts.T.astype(np.float64)
    to_image = []
    for j, own in enumerate(text_image):
        rivals = [scores[i, j] for i in range(len(images)) if i != own]
        to_image.append(1 + sum(rival >= scores[own, j] - 1e-6 for rival in rivals))
    to_text = []
    for i in range(len(images)):
        best = max(scores[i, j] for j in range(len(texts)) if text_image[j] == i)
        rivals = [scores[i, j] for j in range(len(texts)) if text_image[j] != i]
        to_text.append(1 + sum(rival >= best - 1e-6 for rival in rivals))
    return to_image, to_text


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(0, 20), st.integers(0, 10_000), st.sampled_from([1, 7, 30, 1000]))
def test_blocks_give_what_the_definition_gives(num_images, num_more, seed, block_cells):
    rng = np.random.default_rng(seed)
    text_image = np.concatenate([np.arange(num_images), rng.integers(0, num_images, num_more)])
    rng.shuffle(text_image)
    # Few distinct directions, so that there are ties.
    images = unit(rng.integers(-1, 2, (num_images, 3)) + np.array([3, 0, 0]))
    texts = unit(rng.integers(-1, 2, (len(text_image), 3)) + np.array([3, 0, 0]))
    ranks = rank(images, texts, text_image, block_cells=block_cells)
    to_image, to_text = brute_force(images, texts, text_image)
    assert ranks.text_to_image.tolist() == to_image
    assert ranks.image_to_text.tolist() == to_text


def test_ranks_by_hand():
    # Three pictures on three axes. Text 0 leans to picture 1 though it belongs to 0; text 1 is picture 0's own.
    images = unit([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    texts = unit([[0.6, 0.8, 0], [1, 0, 0], [0, 1, 0], [0.1, 0.2, 0.05]])
    ranks = rank(images, texts, np.array([0, 0, 1, 2]))
    assert ranks.text_to_image.tolist() == [2, 1, 1, 3]
    # Picture 2: its text has 0.22 on its axis, the others nothing.
    assert ranks.image_to_text.tolist() == [1, 1, 1]


def test_own_captions_do_not_stand_in_each_others_way():
    images = unit([[1, 0], [0, 1]])
    texts = unit([[1, 0], [1, 0.1], [1, 0.2], [0, 1]])
    assert rank(images, texts, np.array([0, 0, 0, 1])).image_to_text.tolist() == [1, 1]


def test_a_model_that_sees_no_difference_ranks_last():
    ranks = rank(unit(np.ones((50, 4))), unit(np.ones((100, 4))), np.repeat(np.arange(50), 2))
    assert (ranks.text_to_image == 50).all()
    assert (ranks.image_to_text == 99).all()


def test_the_summary_by_hand():
    images = unit(np.eye(12))
    texts = images[[0, 1, 2, *range(3, 12)]]
    texts[:3] = unit(np.ones((3, 12)))  # three texts that fit every picture equally: rank 12
    group = summarise(rank(images, texts, np.arange(12)), np.arange(12))
    assert group["count"] == 12
    assert group["text_to_image"]["count"] == 12
    assert group["text_to_image"]["r@1"] == 0.75
    assert group["text_to_image"]["r@10"] == 0.75
    assert group["text_to_image"]["median_rank"] == 1
    low, high = group["text_to_image"]["interval"]["r@1"]
    assert low < 0.75 < high


def test_chance_is_what_random_orders_give():
    rng = np.random.default_rng(0)
    text_image = np.repeat(np.arange(8), [1, 2, 3, 5, 1, 1, 1, 1])
    images = np.eye(8, dtype=np.float32)
    group = summarise(rank(images, images[text_image], text_image), text_image)
    hits = {"r@1": [], "r@5": []}
    for _ in range(4000):
        order = text_image[rng.permutation(len(text_image))]
        for cutoff, found in zip((1, 5), hits.values(), strict=True):
            found.append(len(set(order[:cutoff])) / 8)
    for name, found in hits.items():
        assert group["image_to_text"]["chance"][name] == pytest.approx(np.mean(found), abs=0.01)
    assert group["text_to_image"]["chance"] == {"r@1": 1 / 8, "r@5": 5 / 8, "r@10": 1}


def test_five_captions_are_one_draw():
    text_image = np.repeat(np.arange(20), 5)
    images = unit(np.eye(20))
    texts = images[text_image]
    texts[:50] = images[(text_image[:50] + 1) % 20]  # all captions of ten pictures are wrong
    group = summarise(rank(images, texts, text_image), text_image)
    low, high = group["text_to_image"]["interval"]["r@1"]
    assert group["text_to_image"]["r@1"] == 0.5
    assert high - low > 0.3  # of 20 pictures; 100 independent captions would give 0.2


@pytest.mark.parametrize(
    ("images", "texts", "text_image", "message"),
    [
        (np.eye(2), np.eye(3), [0, 1, 1], "share a width"),
        (np.eye(2), np.eye(2), [0], "picture rows"),
        (np.eye(2), np.eye(2), [0, 2], "not there"),
        (np.eye(2), np.eye(2), [0, 0], "at least one text"),
        (np.eye(2) * np.nan, np.eye(2), [0, 1], "finite"),
    ],
)
def test_what_does_not_fit_is_refused(images, texts, text_image, message):
    with pytest.raises(ValueError, match=message):
        rank(images.astype(np.float32), texts.astype(np.float32), np.array(text_image))
