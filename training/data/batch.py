"""The batch: what objectives see of the data."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """The ids that are no words."""

    pad: int
    unknown: int
    start: int
    end: int
    mask: int | None  # None: the tokenizer has none (CLIP's, SigLIP's), so no word can be hidden
    vocab_size: int
    contentless: tuple[int, ...] = ()  # ids that are words or marks and name nothing in a picture: "the", "of", ","

    @property
    def all(self) -> tuple[int, ...]:
        """Every special id."""
        always = (self.pad, self.unknown, self.start, self.end)
        return always if self.mask is None else (*always, self.mask)

    def are_among(self, ids: Int[Tensor, "texts subwords"]) -> Bool[Tensor, "texts subwords"]:
        """Which subwords of some texts are special tokens."""
        return torch.isin(ids, torch.tensor(self.all, device=ids.device))

    def words(self) -> list[int]:
        """Every id that is a word."""
        return [number for number in range(self.vocab_size) if number not in self.all]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedTexts:
    """Captions changed so that they no longer describe their picture."""

    ids: Int[Tensor, "edits subwords"]  # as long as the batch's own texts
    mask: Bool[Tensor, "edits subwords"]
    rows: Int[Tensor, " edits"]  # the pair whose caption was changed

    def first(self, pairs: int) -> "EditedTexts":
        """Only the edits of the first pairs."""
        kept = self.rows < pairs
        return EditedTexts(ids=self.ids[kept], mask=self.mask[kept], rows=self.rows[kept])

    def to(self, device: torch.device) -> "EditedTexts":
        """The edits with every tensor on the device."""
        return EditedTexts(ids=self.ids.to(device), mask=self.mask.to(device), rows=self.rows.to(device))


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCaptions:
    """More captions of the batch's pictures, as right as the pairs' own."""

    ids: Int[Tensor, "others subwords"]
    mask: Bool[Tensor, "others subwords"]
    rows: Int[Tensor, " others"]  # the pair whose picture each describes

    def to(self, device: torch.device) -> "OtherCaptions":
        """The captions with every tensor on the device."""
        return OtherCaptions(ids=self.ids.to(device), mask=self.mask.to(device), rows=self.rows.to(device))


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """Noun phrases of the batch's captions, each as a text of its own."""

    ids: Int[Tensor, "phrases subwords"]
    mask: Bool[Tensor, "phrases subwords"]
    rows: Int[Tensor, " phrases"]  # the pair whose caption each is of; rising
    keys: Int[Tensor, " phrases"]  # equal exactly when the phrases are, articles aside

    def to(self, device: torch.device) -> "Phrases":
        """The phrases with every tensor on the device."""
        return Phrases(
            ids=self.ids.to(device), mask=self.mask.to(device), rows=self.rows.to(device), keys=self.keys.to(device)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongWords:
    """The batch's captions with some words replaced, one subword for one: row i and position are the caption's own."""

    ids: Int[Tensor, "pairs subwords"]
    is_wrong: Bool[Tensor, "pairs subwords"]  # what was replaced and is wrong for the picture

    def first(self, pairs: int) -> "WrongWords":
        """Only those of the first pairs."""
        return WrongWords(ids=self.ids[:pairs], is_wrong=self.is_wrong[:pairs])

    def to(self, device: torch.device) -> "WrongWords":
        """The words with every tensor on the device."""
        return WrongWords(ids=self.ids.to(device), is_wrong=self.is_wrong.to(device))


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenWords:
    """Words of the batch's captions that its texts no longer show: the batch's ids are what is left."""

    ids: Int[Tensor, "pairs subwords"]  # the captions as they were
    chosen: Bool[Tensor, "pairs subwords"]  # hidden, replaced by another word, or chosen and left

    def first(self, pairs: int) -> "HiddenWords":
        """Only those of the first pairs."""
        return HiddenWords(ids=self.ids[:pairs], chosen=self.chosen[:pairs])

    def to(self, device: torch.device) -> "HiddenWords":
        """The words with every tensor on the device."""
        return HiddenWords(ids=self.ids.to(device), chosen=self.chosen.to(device))


@dataclass(frozen=True, slots=True, kw_only=True)
class PairBatch:
    """Matching pairs: row i of every tensor belongs to pair i."""

    pixels: Tensor  # [pairs, 3, side, side] normalised, or whatever the recipe's image encoder reads
    ids: Int[Tensor, "pairs subwords"]
    mask: Bool[Tensor, "pairs subwords"]  # False marks padding
    caption_keys: Int[Tensor, " pairs"]  # equal exactly when the captions are equal
    special: SpecialTokens
    texts: tuple[str, ...]
    edits: EditedTexts | None = None  # when the source makes them
    wrong_words: WrongWords | None = None  # when the source replaces words
    phrases: Phrases | None = None  # when the source finds them
    hidden: HiddenWords | None = None  # when the source hides words of the texts that the model reads
    true_of: Bool[Tensor, "pairs pairs"] | None = None  # text i of picture j, beside its own and its caption's equals,
    # when the source knows: contrast takes both for right
    others: OtherCaptions | None = None  # when pictures have several captions and the source gives them
    sample_ids: tuple[str, ...] = ()  # where each pair comes from, for the message when its loss is not finite
    broken: Mapping[str, str] = dataclasses.field(default_factory=dict)  # pictures passed over: name to reason

    def pin_memory(self) -> "PairBatch":
        """The batch with its large tensors where a GPU can fetch them by itself; the loader calls this."""
        return dataclasses.replace(
            self, pixels=self.pixels.pin_memory(), ids=self.ids.pin_memory(), mask=self.mask.pin_memory()
        )

    def to(self, device: torch.device) -> "PairBatch":
        """The batch with every tensor on the device."""
        pixels = self.pixels.to(device, non_blocking=True)
        if pixels.ndim == 4:
            pixels = pixels.contiguous(memory_format=torch.channels_last)  # convolutions run faster so
        edits = None if self.edits is None else self.edits.to(device)
        others = None if self.others is None else self.others.to(device)
        phrases = None if self.phrases is None else self.phrases.to(device)
        wrong_words = None if self.wrong_words is None else self.wrong_words.to(device)
        hidden = None if self.hidden is None else self.hidden.to(device)
        true_of = None if self.true_of is None else self.true_of.to(device)
        return dataclasses.replace(
            self,
            pixels=pixels,
            ids=self.ids.to(device, non_blocking=True),
            mask=self.mask.to(device, non_blocking=True),
            caption_keys=self.caption_keys.to(device, non_blocking=True),
            edits=edits,
            others=others,
            phrases=phrases,
            wrong_words=wrong_words,
            hidden=hidden,
            true_of=true_of,
        )


def caption_key(text: str) -> int:
    """A 63-bit number that is the same for captions that differ only in case and spacing."""
    folded = " ".join(text.lower().split())
    return int.from_bytes(hashlib.blake2b(folded.encode(), digest_size=8).digest(), "big") >> 1
