"""CLIP behind a plain FastAPI handler: what one writes in an afternoon.

python plain.py MODEL_DIR PORT
"""

import base64
import io
import sys

import torch
import uvicorn
from fastapi import FastAPI, HTTPException
from PIL import Image
from pydantic import BaseModel
from transformers import CLIPModel, CLIPProcessor

model = CLIPModel.from_pretrained(sys.argv[1]).eval()
processor = CLIPProcessor.from_pretrained(sys.argv[1])
app = FastAPI()


class Query(BaseModel):
    """A text or a picture in base64."""

    text: str | None = None
    image: str | None = None


@app.post("/embed")
def embed(query: Query) -> dict[str, list[float]]:
    """Return the unit embedding."""
    with torch.inference_mode():
        if query.text is not None:
            found = model.get_text_features(**processor(text=[query.text], return_tensors="pt"))
        else:
            try:
                picture = Image.open(io.BytesIO(base64.b64decode(query.image or ""))).convert("RGB")
            except (OSError, ValueError) as error:
                raise HTTPException(400, str(error)) from error
            found = model.get_image_features(**processor(images=[picture], return_tensors="pt"))
    features = getattr(found, "pooler_output", found)[0]
    return {"embedding": (features / features.norm()).tolist()}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
