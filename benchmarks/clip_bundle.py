"""Makes a bundle of CLIP's shape with weights made at random: for speed, where what the weights know is no matter.

    python -m benchmarks.clip_bundle OUT [--shape vit-b-32|small]

`vit-b-32` has the towers of CLIP ViT-B/32. `small` has the same embeddings (512 numbers) from towers of two layers, so
that what stands around the engine shows. The tokenizer is the demo bundle's.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPModel

from export.graphs import BATCH, SUBWORDS, GraphPlan
from export.onnx_file import OPSET, write_onnx
from runtime.bundle import Graph, ImageInput, Manifest, Provenance, TensorSpec, TextInput, read_bundle, write_bundle

DIM = 512
_MAX_SUBWORDS = 77
_PATCH_PX = 32
_TOWERS = {
    "vit-b-32": {"text": (512, 12, 8), "vision": (768, 12, 12), "size_px": 224},
    "small": {"text": (128, 2, 4), "vision": (128, 2, 4), "size_px": 96},
}


class _Images(nn.Module):
    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.vision, self.projection = model.vision_model, model.visual_projection

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.vision(pixel_values=pixels)
        return normalize(self.projection(seen.pooler_output), dim=-1), seen.last_hidden_state[:, 1:]


class _Texts(nn.Module):
    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.text, self.projection = model.text_model, model.text_projection

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        read = self.text(input_ids=ids, attention_mask=mask)
        return normalize(self.projection(read.pooler_output), dim=-1), read.last_hidden_state


def make(out: Path, shape: str, *, tokenizer_of: Path = Path("bundles/demo")) -> Manifest:
    """Write the bundle."""
    torch.manual_seed(0)
    bundle = read_bundle(tokenizer_of)
    transform = bundle.text_transform()
    end = transform.tokenizer.token_to_id("[SEP]")
    sizes = _TOWERS[shape]
    model = CLIPModel(_config(sizes, vocab_size=transform.vocabulary_size, end_id=end)).eval()
    size_px, (width, *_), (text_width, *_) = sizes["size_px"], sizes["vision"], sizes["text"]
    side = size_px // _PATCH_PX
    ids = torch.tensor([[2, 5, 6, 7, 8, 9, end], [2, 9, 8, 7, 6, 5, end]])
    per_text = {0: BATCH, 1: SUBWORDS}
    plans = [
        GraphPlan(
            name="image_encoder",
            module=_Images(model),
            example={"pixels": torch.zeros(2, 3, size_px, size_px)},
            varying={"pixels": {0: BATCH}},
            outputs=(
                _float("image_embedding", BATCH, DIM),
                _float("patch_tokens", BATCH, side * side, width),
            ),
        ),
        GraphPlan(
            name="text_encoder",
            module=_Texts(model),
            example={"ids": ids, "mask": torch.ones_like(ids)},
            varying={"ids": per_text, "mask": per_text},
            outputs=(_float("text_embedding", BATCH, DIM), _float("word_tokens", BATCH, SUBWORDS, text_width)),
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = {f"{plan.name}.onnx": Path(folder) / f"{plan.name}.onnx" for plan in plans}
        for plan in plans:
            write_onnx(plan, files[f"{plan.name}.onnx"], max_subwords=_MAX_SUBWORDS)
        files["tokenizer.json"] = Path(folder) / "tokenizer.json"
        transform.tokenizer.save(str(files["tokenizer.json"]))
        return write_bundle(
            out,
            name=f"random-{shape}",
            files=files,
            image=ImageInput(size_px=size_px, resize="crop", patch_rows=side, patch_columns=side),
            text=TextInput(max_subwords=_MAX_SUBWORDS),
            graphs={
                plan.name: Graph(
                    file=f"{plan.name}.onnx",
                    precision="fp32",
                    opset=OPSET,
                    inputs=plan.inputs(),
                    outputs=plan.outputs,
                )
                for plan in plans
            },
            embedding_dim=DIM,
            temperature=0.01,
            provenance=Provenance(recipe="none: random weights", data="none"),
        )


def _config(sizes: dict, *, vocab_size: int, end_id: int) -> CLIPConfig:  # type: ignore[type-arg]
    def tower(width: int, layers: int, heads: int) -> dict[str, int]:
        return {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
        }

    return CLIPConfig(
        text_config={
            **tower(*sizes["text"]),
            "vocab_size": vocab_size,
            "max_position_embeddings": _MAX_SUBWORDS,
            "eos_token_id": end_id,
        },
        vision_config={**tower(*sizes["vision"]), "image_size": sizes["size_px"], "patch_size": _PATCH_PX},
        projection_dim=DIM,
    )


def _float(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=_TOWERS, default="vit-b-32")
    arguments = parser.parse_args()
    make(arguments.out, arguments.shape)
