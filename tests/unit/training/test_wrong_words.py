"""Wrong words: what is drawn, what is plausible, what is refused, and tables of candidates."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

import scenes
from runtime.errors import DataError
from runtime.preprocess.spelling import Spelling
from runtime.preprocess.text import TextTransform
from scenes.truth import is_true
from tests.numerics.small import small_batch, small_tokenizer
from tests.unit.training.public_towers import clip_tokenizer, siglip_tokenizer
from training.data.batch import PairBatch
from training.data.candidates import Candidates, CandidateTable, Guessed, write_table
from training.data.learned_guesser import LearnedGuesserConfig, learned_guesser
from training.data.scene_pairs import ScenePairs, ScenePairsConfig
from training.data.scene_truth import SceneTruth
from training.data.tokenizer import pieces_of, special_tokens, subword_tokenizer, with_mask
from training.data.wrong_words import (
    CaptionTruth,
    Vocabulary,
    WrongWordsConfig,
    draw_positions,
    read_synonyms,
    replaced,
    vocabulary_digest,
)
from training.model.word_guesser import PublicGuesser, SmallGuesserConfig

QUICK = LearnedGuesserConfig(
    model=SmallGuesserConfig(width=16, heads=2), num_captions=200, num_steps=60, batch_size=32, learning_rate=2e-2
)
UNIFORM = WrongWordsConfig(share=0.5, is_uniform=True)


def scene_pairs(wrong_words: WrongWordsConfig | None, *, world: str = "small", seed: int = 3) -> ScenePairs:
    config = ScenePairsConfig(world=world, size_px=48, wrong_words=wrong_words)
    return config.open(None, tokenizer=config.tokenizer(None), batch_size=24, seed=seed)


class Fixed:
    """A guesser whose logits are given, whatever it is asked; it notes what it was asked."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits
        self.asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def guess(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        self.asked.append((ids, positions))
        return self.logits.expand(len(ids), -1).clone()


class Nothing:
    """A truth that calls everything wrong, but for what it is told."""

    def __init__(self, positions: list[int], right: set[int] = frozenset(), together: bool = True) -> None:  # type: ignore[assignment]
        self.positions, self._right, self._together = positions, right, together

    def is_wrong(self, position: int, word: int) -> bool:
        return word not in self._right

    def are_wrong(self, words: object) -> bool:
        return self._together


def preferring(batch: PairBatch, *words: str) -> Fixed:
    """A guesser that finds these words plausible, the first the most, and after them the others."""
    logits = torch.zeros(batch.special.vocab_size)
    for rank, word in enumerate(words):
        logits[small_tokenizer().token_to_id(word)] = 30.0 - 10 * rank
    return Fixed(logits)


@given(st.lists(st.integers(1, 40), unique=True, max_size=30).map(sorted), st.integers(0, 99), st.integers(0, 8))
def test_drawn_positions_are_some_of_those_given_in_order_and_not_too_many(positions: list[int], seed: int, most: int):
    drawn = draw_positions(positions, np.random.default_rng(seed), share=0.5, most=most)
    assert drawn == sorted(set(drawn) & set(positions))
    assert len(drawn) <= most
    assert draw_positions(positions, np.random.default_rng(seed), share=0.0, most=most) == []
    assert draw_positions(positions, np.random.default_rng(seed), share=1.0, most=99) == positions


def test_each_place_is_hidden_alone_and_the_word_itself_and_special_tokens_are_no_candidates():
    batch = small_batch()
    guesser = preferring(batch, "red", "green")
    guesser.logits[list(batch.special.all)] = 99.0
    found = Guessed(guesser, batch.special).propose(batch, [(0, 2), (0, 3), (1, 2)])
    ((ids, positions),) = guesser.asked
    assert positions.tolist() == [2, 3, 2]
    for row, (source, at) in enumerate([(0, 2), (0, 3), (1, 2)]):
        hidden = batch.ids[source].clone()
        hidden[at] = batch.special.mask
        assert torch.equal(ids[row], hidden)
    red = small_tokenizer().token_to_id("red")
    assert red not in found[0].words  # it stands there
    assert found[1].words[0] == red
    for candidates in found:
        assert not set(candidates.words.tolist()) & set(batch.special.all)
        assert candidates.probabilities.sum() == pytest.approx(1.0)
        assert (np.diff(candidates.probabilities) <= 0).all()


def test_twenty_best_are_kept():
    batch = small_batch()
    logits = torch.arange(60.0)
    batch = dataclasses.replace(batch, special=dataclasses.replace(batch.special, vocab_size=60))
    (found,) = Guessed(Fixed(logits), batch.special).propose(batch, [(0, 1)])
    assert found.words.tolist() == list(range(59, 39, -1))
    expected = torch.softmax(torch.arange(59.0, 39.0, -1, dtype=torch.float64), dim=0)
    np.testing.assert_allclose(found.probabilities, expected.numpy())


def test_samples_follow_the_probabilities_of_what_is_allowed():
    candidates = Candidates(np.array([7, 8, 9]), np.array([0.5, 0.3, 0.2]))
    rng = np.random.default_rng(0)
    drawn = [candidates.sample(rng, is_allowed=lambda word: word != 8) for _ in range(4000)]
    assert set(drawn) == {7, 9}
    assert drawn.count(7) / len(drawn) == pytest.approx(5 / 7, abs=0.03)
    assert candidates.sample(rng, is_allowed=lambda word: False) is None


def test_refused_words_and_captions_stay_as_they_are():
    batch = small_batch()
    proposer = Guessed(preferring(batch, "blue", "green"), batch.special)
    blue, green = (small_tokenizer().token_to_id(word) for word in ("blue", "green"))
    truths = [Nothing([2]), Nothing([2], right={blue}), Nothing([2], together=False), None]
    words = replaced(batch, truths, proposer, WrongWordsConfig(share=1.0), seeds=range(4))
    assert words.ids[0, 2] == blue
    assert words.ids[1, 2] == green  # row 1 says blue already, which is no candidate either
    assert words.is_wrong.nonzero().tolist() == [[0, 2], [1, 2]]
    words.ids[0, 2], words.ids[1, 2] = batch.ids[0, 2], batch.ids[1, 2]
    assert torch.equal(words.ids, batch.ids)


@pytest.mark.parametrize(
    ("world", "every_kind", "edited"),
    [
        ("small", False, {"kind", "colour", "size", "relation"}),
        ("small", True, {"kind", "colour", "size", "relation", "pattern"}),
        ("full", False, {"kind", "colour", "size", "relation"}),
        ("full", True, {"kind", "colour", "size", "relation", "pattern", "state", "count"}),
    ],
)
def test_uniform_words_are_false_of_the_drawn_picture_and_fill_the_same_slots(
    world: str, every_kind: bool, edited: set[str]
):
    source = scene_pairs(dataclasses.replace(UNIFORM, every_kind=every_kind), world=world)
    batch = source[0]
    tokenizer = source.text_transform.tokenizer
    assert batch.wrong_words is not None
    assert batch.wrong_words.is_wrong.any()
    assert torch.equal(batch.wrong_words.is_wrong, batch.wrong_words.ids != batch.ids)
    assert not batch.wrong_words.is_wrong[~batch.mask].any()
    kinds: set[str] = set()
    for row in range(24):
        scene = scenes.generate(3, row, size_px=48, world=scenes.world_named(world))
        (truth,) = source.truths([scene])
        for position in batch.wrong_words.is_wrong[row].nonzero().flatten().tolist():
            word = int(batch.wrong_words.ids[row, position])
            name, number = truth._slots[position]
            kinds.add(name)
            assert not is_true(truth._changed(scene.draft, position, word), scene.objects, size_px=48)
            values = [tokenizer.id_to_token(other) for other in truth.values(position)]
            assert tokenizer.id_to_token(word) in values
            if name == "colour":
                said = {value for value, colour in scene.world.colours.items() if set(colour.words) & set(values)}
                assert scene.draft.looks[number].colour not in said
    assert kinds == edited


def test_synonyms_lookalikes_and_what_the_picture_shows_are_no_wrong_words():
    source = scene_pairs(None)
    id_of = source.text_transform.tokenizer.token_to_id
    asked = 0
    for index in range(40):
        scene = scenes.generate(5, index, size_px=48, world=scenes.SMALL_WORLD)
        (truth,) = source.truths([scene])
        for position, (name, number) in truth._slots.items():
            look = scene.draft.looks[number] if name != "relation" else None
            if name == "colour" and look is not None:
                same = scene.world.colours[look.colour].words
                assert not any(truth.is_wrong(position, id_of(word)) for word in same)
                shown = {thing.colour for thing in scene.objects if thing.kind == look.kind}
                for colour in shown:  # such a thing is there as well
                    assert not truth.is_wrong(position, id_of(scene.world.colours[colour].words[0]))
                asked += 1
            if name == "kind" and look is not None:
                assert not any(truth.is_wrong(position, id_of(word)) for word in scene.world.kinds[look.kind])
            for word in ("the", "two", "striped", "plain", "and"):  # says nothing, or what is never made wrong
                assert not truth.is_wrong(position, id_of(word))
    assert asked > 20


def test_two_wrong_words_that_are_right_together_are_refused():
    """Left and right exchanged together with both things would be true again; here both relations of one edge."""
    source = scene_pairs(None)
    id_of = source.text_transform.tokenizer.token_to_id
    for index in range(300):
        scene = scenes.generate(5, index, size_px=48, world=scenes.SMALL_WORLD)
        looks, mentions = scene.draft.looks, scene.draft.plan.mentions
        if scene.draft.plan.shape.num_mentions != 2 or scene.draft.relations:
            continue
        if any(mention.says_size or mention.says_pattern or mention.says_count for mention in mentions):
            continue
        if looks[0].kind == looks[1].kind or looks[0].colour == looks[1].colour:
            continue
        (truth,) = source.truths([scene])
        places = {slot: position for position, slot in truth._slots.items()}
        exchanged = {
            places["kind", 0]: id_of(scene.world.kinds[looks[1].kind][0]),
            places["kind", 1]: id_of(scene.world.kinds[looks[0].kind][0]),
            places["colour", 0]: id_of(scene.world.colours[looks[1].colour].words[0]),
            places["colour", 1]: id_of(scene.world.colours[looks[0].colour].words[0]),
        }
        assert not truth.are_wrong(exchanged)
        return
    pytest.fail("no scene to ask")


def test_the_same_step_has_the_same_words_in_every_process():
    source = scene_pairs(UNIFORM)
    first, again = source[2], pickle.loads(pickle.dumps(source))[2]
    assert first.wrong_words is not None
    assert again.wrong_words is not None
    assert torch.equal(first.wrong_words.ids, again.wrong_words.ids)


def test_short_queries_have_no_wrong_words():
    config = ScenePairsConfig(world="small", size_px=48, short_share=0.5, wrong_words=UNIFORM)
    batch = config.open(None, tokenizer=config.tokenizer(None), batch_size=8, seed=0)[0]
    assert batch.wrong_words is not None
    assert not batch.wrong_words.is_wrong[4:].any()


def test_small_guesser_learns_the_captions_and_is_kept(tmp_path: Path):
    source = scene_pairs(None)
    tokenizer = source.text_transform.tokenizer
    model = learned_guesser(QUICK, source.captions, tokenizer, source="scenes", folder=tmp_path)

    def never(count: int) -> list[str]:
        raise AssertionError("it is kept")

    again = learned_guesser(QUICK, never, tokenizer, source="scenes", folder=tmp_path)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    batch = source[0]
    before = torch.get_rng_state()
    hidden = batch.ids.clone()
    assert batch.special.mask is not None
    hidden[:, 2] = batch.special.mask
    logits = model.guess(hidden, batch.mask, torch.full((len(hidden),), 2))
    loss = torch.nn.functional.cross_entropy(logits, batch.ids[:, 2]).item()
    assert loss < np.log(batch.special.vocab_size) - 0.5  # better than knowing nothing
    assert torch.equal(torch.get_rng_state(), before)


def test_captions_know_their_own_words_synonyms_and_parts_of_words(tmp_path: Path):
    tokenizer = subword_tokenizer(["a big dog runs", "the large dog", "a cat, sitting"] * 3, vocab_size=120)
    vocabulary = Vocabulary.of(tokenizer)
    ids = tokenizer.encode("a big dog, runsing").ids
    pieces = [tokenizer.id_to_token(word) for word in ids]
    (tmp_path / "same.txt").write_text("big large\nrun runs\n")
    synonyms = read_synonyms(tmp_path / "same.txt", tokenizer)
    said = frozenset(tokenizer.encode("the big dog").ids)
    truth = CaptionTruth(ids, vocabulary=vocabulary, said=said, synonyms=synonyms)
    assert [pieces[at] for at in truth.positions] == ["a", "big", "dog"]  # not the comma, not a word of two parts
    at = pieces.index("big")
    assert truth.is_wrong(at, tokenizer.token_to_id("cat"))
    for word in ("large", "the", "dog", ",", "[MASK]"):
        assert not truth.is_wrong(at, tokenizer.token_to_id(word))
    assert truth.is_wrong(pieces.index("dog"), tokenizer.token_to_id("large"))
    with pytest.raises(DataError, match="synonyms"):
        read_synonyms(tmp_path / "none.txt", tokenizer)


@pytest.mark.parametrize("make", [clip_tokenizer, siglip_tokenizer])
def test_words_of_public_vocabularies(make, tmp_path: Path):
    """What is one word of one subword is so by CLIP's marks and by SentencePiece's."""
    tokenizer = make(["a", "big", "large", "dog", "do"])
    ids = tokenizer.encode("a big dog xdog dogs.").ids
    truth = CaptionTruth(ids, vocabulary=Vocabulary.of(tokenizer))
    spelling = Spelling.of(tokenizer)
    assert [spelling.plain(tokenizer.id_to_token(ids[at])) for at in truth.positions] == ["a", "big", "dog"]
    (tmp_path / "same.txt").write_text("big large\n")
    (one, other) = read_synonyms(tmp_path / "same.txt", tokenizer)
    assert {spelling.plain(tokenizer.id_to_token(word)) for word in (one, other)} == {"big", "large"}
    with_mask(tokenizer)
    assert special_tokens(tokenizer).mask == tokenizer.token_to_id("[MASK]") == tokenizer.get_vocab_size() - 1
    assert Vocabulary.of(tokenizer).words.isdisjoint(special_tokens(tokenizer).all)


@pytest.mark.parametrize("make", [clip_tokenizer, siglip_tokenizer])
def test_subwords_are_told_as_word_pieces(make):
    transform = TextTransform(make(["big", "dog", "do"]), max_subwords=20)
    (ids,) = transform.encode(["dogs"]).ids.tolist()
    pieces = transform.pieces([one for one in ids if one not in special_tokens(transform.tokenizer).all])
    assert "".join(piece.removeprefix("##") for piece in pieces) == "dogs"
    assert not pieces[0].startswith("##")
    assert all(piece.startswith("##") for piece in pieces[1:])
    assert {"big", "dog", "do"} <= set(transform.whole_words[1])
    at = dict(zip(transform.whole_words[1], transform.whole_words[0].tolist(), strict=True))
    assert transform.piece(at["dog"]) == "dog"


def test_a_table_says_what_was_guessed(tmp_path: Path):
    batch = small_batch()
    torch.manual_seed(0)
    guessed = Guessed(Fixed(torch.randn(batch.special.vocab_size)), batch.special)
    places = [(row, position) for row in range(4) for position in (1, 2, 3)]
    digest = vocabulary_digest(small_tokenizer())
    file = tmp_path / "candidates.npz"
    assert write_table(file, [(batch, places), (batch, places)], guessed, digest) == 9  # two captions are equal
    table = CandidateTable(file, digest)
    for ours, theirs in zip(table.propose(batch, places), guessed.propose(batch, places), strict=True):
        assert ours.words.tolist() == theirs.words.tolist()
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, rtol=1e-5)
    with pytest.raises(DataError, match="no candidates for place 4"):
        table.propose(batch, [(1, 4)])
    with pytest.raises(DataError, match="another tokenizer"):
        CandidateTable(file, "other")
    file.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no table"):
        CandidateTable(file, digest)


def test_public_language_model(tmp_path: Path):
    tokenizer = small_tokenizer()
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=16, layer_norm_eps=1e-5, **size
    )
    torch.manual_seed(0)
    public = transformers.BertForMaskedLM(config).eval()
    public.save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    batch = small_batch()
    found = PublicGuesser(str(tmp_path), pieces_of(tokenizer)).guess(batch.ids, batch.mask, torch.tensor([1, 2, 3, 1]))
    with torch.no_grad():
        logits = public(input_ids=batch.ids, attention_mask=batch.mask.long()).logits
    torch.testing.assert_close(found, logits[torch.arange(4), torch.tensor([1, 2, 3, 1])], rtol=1e-3, atol=1e-4)
    with pytest.raises(DataError, match="other subwords"):
        PublicGuesser(str(tmp_path), ["a", "b"])
    public.bert.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="head"):
        PublicGuesser(str(tmp_path), pieces_of(tokenizer))
    with pytest.raises(DataError, match="cannot be read"):
        PublicGuesser(str(tmp_path / "none"), pieces_of(tokenizer))


def test_slots_of_a_truth_are_single_words():
    scene = scenes.generate(1, 4, size_px=48, world=scenes.SMALL_WORLD)
    source = scene_pairs(None)
    encoded = source.text_transform.encode([scene.caption])
    truth = SceneTruth(scene, source.text_transform.tokenizer, encoded.offsets[0])
    for position in truth.positions:
        start, end = encoded.offsets[0, position]
        assert scene.caption[start:end].isalpha()
