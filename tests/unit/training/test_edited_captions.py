import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data import edited_captions
from training.data.edited_captions import PhraseStock, edited, said_longer

CAPTION = "A brown dog chases a white cat on the grass ."
OTHERS = [CAPTION, "a dog runs after a cat near a wooden fence"]
STOCK = PhraseStock.of([*OTHERS, "two old men ride a red bicycle", "a small boat on a lake"])


def every(caption, captions=OTHERS, stock=STOCK, draws=200):
    return {edited(caption, captions, stock, np.random.default_rng(seed)) for seed in range(draws)}


def test_things_and_looks_are_exchanged_replaced_and_put_in():
    found = every(CAPTION)
    assert "A white cat chases a brown dog on the grass ." in found
    assert "A white dog chases a brown cat on the grass ." in found
    assert "A brown bicycle chases a white cat on the grass ." in found
    assert "A small dog chases a white cat on the grass ." in found
    assert "A brown dog and a boat chases a white cat on the grass ." in found
    assert "A small brown dog chases a white cat on the grass ." in found


def test_nothing_is_put_in_that_a_caption_of_the_picture_says():
    exchanged = {edited_captions._exchange_things, edited_captions._exchange_looks}
    others = [kind for kind in edited_captions._KINDS if kind not in exchanged]
    phrases = edited_captions.noun_phrases(CAPTION)
    said = frozenset(" ".join(OTHERS).lower().split())
    for kind in others:
        for seed in range(60):
            found = kind(CAPTION, phrases, said, STOCK, np.random.default_rng(seed))
            new = set((found or "").lower().split()) - set(CAPTION.lower().split())
            assert not new & said - {"and", "a"}, found


def test_a_right_caption_is_made_longer_by_what_another_names():
    found = {said_longer(CAPTION, OTHERS[1:], np.random.default_rng(seed)) for seed in range(30)}
    assert "A brown dog and a wooden fence chases a white cat on the grass ." in found
    assert all(one is not None and "wooden fence" in one for one in found)
    assert said_longer(CAPTION, ["a dog and a cat"], np.random.default_rng(0)) is None


def test_a_caption_without_a_thing_is_not_edited():
    assert every("and of the") == {None}


@given(st.text(max_size=60), st.integers(0, 99))
def test_any_text_is_edited_into_another_one_or_not_at_all(text, seed):
    found = edited(text, [text], STOCK, np.random.default_rng(seed))
    assert found is None or found.lower() != text.lower()
