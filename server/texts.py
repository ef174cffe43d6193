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
        if (count := len(words(text))) > max_words:
            raise TextError(
                f"the text has {count:,} words; at most {max_words:,} are accepted here.", code="text_too_long"
            )
