"""How a vocabulary writes its subwords: where words begin, go on and end.

WordPiece marks what goes on with a word (`##ing`), SentencePiece what begins one (`▁sing`), CLIP's pairs of bytes what
ends one (`sing</w>`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tokenizers import Tokenizer, models

CONTINUES = "##"
_BEGINS = "\u2581"
_ENDS = "</w>"


@dataclass(frozen=True, slots=True)
class Spelling:
    """What a vocabulary marks."""

    marks: Literal["continuing", "beginning", "ending"]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Spelling":
        """Tell it by the kind of the tokenizer."""
        model = tokenizer.model
        if isinstance(model, models.BPE):
            return cls("ending" if model.end_of_word_suffix == _ENDS else "beginning")
        return cls("beginning" if isinstance(model, models.Unigram) else "continuing")

    def plain(self, piece: str) -> str:
        """A subword without its mark."""
        match self.marks:
            case "continuing":
                return piece.removeprefix(CONTINUES)
            case "beginning":
                return piece.removeprefix(_BEGINS)
            case "ending":
                return piece.removesuffix(_ENDS)

    def is_word(self, piece: str) -> bool:
        """Whether a subword can be a word by itself; of marks and special tokens this says nothing."""
        match self.marks:
            case "continuing":
                return not piece.startswith(CONTINUES)
            case "beginning":
                return piece.startswith(_BEGINS)
            case "ending":
                return piece.endswith(_ENDS) and piece.isascii()  # other letters stand for bytes, not for themselves

    def goes_on(self, piece: str) -> bool:
        """Whether a subword, no special token, goes on with the word before it, as far as it says so itself."""
        match self.marks:
            case "continuing":
                return piece.startswith(CONTINUES)
            case "beginning":
                return not piece.startswith(_BEGINS) and any(character.isalnum() for character in piece)
            case "ending":
                return False

    def is_open(self, piece: str) -> bool:
        """Whether the word of a subword, no special token, goes on after it, as far as it says so itself."""
        return self.marks == "ending" and not piece.endswith(_ENDS)

    def as_word_pieces(self, pieces: Sequence[str]) -> list[str]:
        """The subwords of one word as WordPiece would write them."""
        return [
            CONTINUES + self.plain(piece)
            if self.goes_on(piece) or (at > 0 and self.is_open(pieces[at - 1]))
            else self.plain(piece)
            for at, piece in enumerate(pieces)
        ]
