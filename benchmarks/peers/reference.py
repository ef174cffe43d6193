"""What the weights say: transformers' CLIP in fp32, in this process, one input at a time."""

import functools
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor


@functools.cache
def reference(checkpoint: Path) -> Callable[[str | bytes], np.ndarray]:
    """Return what embeds a text or a JPEG, float32[dim], of unit length."""
    model = CLIPModel.from_pretrained(checkpoint).eval()
    processor = CLIPProcessor.from_pretrained(checkpoint)

    def embed(query: str | bytes) -> np.ndarray:
        with torch.inference_mode():
            if isinstance(query, str):
                found = model.get_text_features(**processor(text=[query], return_tensors="pt"))
            else:
                picture = Image.open(io.BytesIO(query)).convert("RGB")
                found = model.get_image_features(**processor(images=[picture], return_tensors="pt"))
        features = getattr(found, "pooler_output", found)[0].numpy()
        return np.asarray(features / np.linalg.norm(features), np.float32)

    return functools.lru_cache(maxsize=256)(embed)
