"""A quick look at retrieval while training; the real measurement reads the exported bundle (`vernier eval`)."""

import logging

import torch

from training.data.source import PairSource
from training.model.pair_model import PairModel

_IMAGES_PER_BATCH = 100

_log = logging.getLogger(__name__)


@torch.no_grad()
def retrieval_of(model: PairModel, source: PairSource, *, count: int) -> dict[str, float]:
    """Text-to-image recall at 1 and 5 over up to `count` held-out pairs with different captions.

    Nothing, and a warning, where no held-out pair can be read.
    """
    samples = source.held_out(count)
    if not samples:
        _log.warning("no held-out pair of %s can be read, so its retrieval is not measured", source.name)
        return {}
    device = next(model.parameters()).device
    model.eval()
    images, texts = [], []
    for at in range(0, len(samples), _IMAGES_PER_BATCH):
        part = samples[at : at + _IMAGES_PER_BATCH]
        pixels = torch.stack([torch.from_numpy(source.image_transform.apply(sample.image)) for sample in part])
        encoded = source.text_transform.encode([sample.caption for sample in part])
        images.append(model.encode_images(pixels.to(device)).embedding)
        ids, mask = torch.from_numpy(encoded.ids).to(device), torch.from_numpy(encoded.mask).bool().to(device)
        texts.append(model.encode_texts(ids, mask).embedding)
    scores = torch.cat(texts) @ torch.cat(images).T
    own = scores.diagonal()[:, None]
    rank = (scores > own).sum(dim=1)
    return {"r@1": (rank < 1).float().mean().item(), "r@5": (rank < 5).float().mean().item()}
