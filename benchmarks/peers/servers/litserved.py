"""CLIP behind LitServe, as its guide has it, with batches.

python litserved.py MODEL_DIR PORT BATCH_SIZE BATCH_TIMEOUT_S
"""

import base64
import io
import sys

import litserve as ls
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor


class Clip(ls.LitAPI):
    """Texts and pictures; what a batch has of each goes through its tower at once."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self.model = CLIPModel.from_pretrained(sys.argv[1]).eval().to(device)
        self.processor = CLIPProcessor.from_pretrained(sys.argv[1])

    def decode_request(self, request: dict) -> str | Image.Image:
        """Return a text or a decoded picture."""
        if "text" in request:
            return request["text"]
        return Image.open(io.BytesIO(base64.b64decode(request["image"]))).convert("RGB")

    def batch(self, inputs: list) -> list:
        """Keep a batch as it comes."""
        return inputs

    def predict(self, inputs: list) -> list:
        """Return the unit embedding of each."""
        found: list = [None] * len(inputs)
        texts = [at for at, one in enumerate(inputs) if isinstance(one, str)]
        pictures = [at for at, one in enumerate(inputs) if not isinstance(one, str)]
        with torch.inference_mode():
            if texts:
                told = self.processor(text=[inputs[at] for at in texts], padding=True, return_tensors="pt")
                self._put(found, texts, self.model.get_text_features(**told))
            if pictures:
                told = self.processor(images=[inputs[at] for at in pictures], return_tensors="pt")
                self._put(found, pictures, self.model.get_image_features(**told))
        return found

    def unbatch(self, outputs: list) -> list:
        """Give each its own."""
        return outputs

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """Return the answer."""
        return {"embedding": output}

    def _put(self, found: list, places: list[int], features: torch.Tensor) -> None:
        features = getattr(features, "pooler_output", features)
        for at, one in zip(places, features / features.norm(dim=-1, keepdim=True), strict=True):
            found[at] = one.tolist()


if __name__ == "__main__":
    size, timeout_s = int(sys.argv[3]), float(sys.argv[4])
    api = Clip(max_batch_size=size, batch_timeout=timeout_s)
    ls.LitServer(api, accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning"
    )
