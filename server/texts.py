"""Limits on texts, checked before an engine sees them."""

from collections.abc import Sequence

from runtime.errors import TextError
from runtime.preprocess.text import check_text, words


def check_texts(texts: Sequence[str], *, max_words: int) -> None:
    """Refuse texts with nothing in them and texts of too many words.

    Raises:
        TextError: `text_empty`, `text_too_long`.
    """
    for text in texts:
        check_text(text)
        # Words are counted only where there may be too many: there are never more than characters.
        if len(text) > max_words and (count := len(words(text))) > max_words:
            raise TextError(
                f"the text has {count:,} words; at most {max_words:,} are accepted here.", code="text_too_long"
            )
