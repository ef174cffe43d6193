"""From pictures and captions to a batch, through the same transforms that serve."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from runtime.preprocess.image import ImageTransform
from runtime.preprocess.text import TextTransform
from training.data.batch import EditedTexts, PairBatch, SpecialTokens, caption_key


def collate(
    images: Sequence[Image.Image],
    captions: Sequence[str],
    *,
    image_transform: ImageTransform,
    text_transform: TextTransform,
    special: SpecialTokens,
    edits: Sequence[tuple[int, str]] = (),
    sample_ids: Sequence[str] = (),
    broken: Mapping[str, str] | None = None,
) -> PairBatch:
    """Make a batch; `edits` are (row, wrong caption); `broken` names pictures that were passed over.

    `sample_ids` say where each pair comes from.
    """
    texts = [*captions, *(caption for _, caption in edits)]
    encoded = text_transform.encode(texts)
    ids, mask = torch.from_numpy(encoded.ids), torch.from_numpy(encoded.mask).bool()
    pairs = len(captions)
    return PairBatch(
        pixels=torch.from_numpy(np.stack([image_transform.apply(image) for image in images])),
        ids=ids[:pairs],
        mask=mask[:pairs],
        caption_keys=torch.tensor([caption_key(caption) for caption in captions]),
        special=special,
        texts=tuple(captions),
        edits=EditedTexts(ids=ids[pairs:], mask=mask[pairs:], rows=torch.tensor([row for row, _ in edits]))
        if edits
        else None,
        sample_ids=tuple(sample_ids),
        broken=broken or {},
    )
