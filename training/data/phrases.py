"""The noun phrases of a batch's captions, each to be read as a text of its own.

Found by the component that also finds them when texts are served (`runtime.phrases`), and encoded by itself, as a
phrase is when it is looked for: what is trained is what is served.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from runtime.phrases import Phrase, noun_phrases
from runtime.preprocess.text import TextTransform
from training.data.batch import Phrases, caption_key

ARTICLES = frozenset("a an the".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class PhrasesConfig:
    """Which phrases a batch carries."""

    most: int = 4  # of each caption; where there are more, so many are drawn
    article_share: float = 0.5  # of those with an article that keep it: people look for things with and without


def phrases_of(
    captions: Sequence[str],
    config: PhrasesConfig,
    text_transform: TextTransform,
    *,
    seeds: Sequence[tuple[int, ...]],
) -> Phrases | None:
    """The phrases of a batch; None where no caption has any.

    Args:
        captions: of the batch.
        config: which phrases.
        text_transform: as when serving.
        seeds: one for each caption; the same one draws the same.
    """
    texts: list[str] = []
    rows: list[int] = []
    keys: list[int] = []
    for row, (caption, seed) in enumerate(zip(captions, seeds, strict=True)):
        rng = np.random.default_rng(seed)
        found = noun_phrases(caption)
        kept = sorted(rng.choice(len(found), size=min(len(found), config.most), replace=False)) if found else []
        for at in kept:
            texts.append(_said(caption, found[at], keeps_article=rng.random() < config.article_share))
            rows.append(row)
            keys.append(caption_key(found[at].text))
    if not texts:
        return None
    encoded = text_transform.encode(texts)
    return Phrases(
        ids=torch.from_numpy(encoded.ids),
        mask=torch.from_numpy(encoded.mask).bool(),
        rows=torch.tensor(rows),
        keys=torch.tensor(keys),
    )


def _said(caption: str, phrase: Phrase, *, keeps_article: bool) -> str:
    """The phrase, which has no article, or with the one before it."""
    before = caption[: phrase.start].split()
    if keeps_article and before and before[-1].lower() in ARTICLES:
        return f"{before[-1]} {phrase.text}"
    return phrase.text
