"""Makes a bundle of CLIP's shape with weights made at random: for speed, where what the weights know is no matter.

    python -m benchmarks.clip_bundle OUT [--shape vit-b-32|small]

`vit-b-32` has the towers of CLIP ViT-B/32. `small` has embeddings of the same 512 numbers from towers of two layers, so
that what stands around the engines shows. Both go the way of every public checkpoint, `vernier import`. The tokenizer
is of CLIP's kind and learnt from drawn scenes.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, PreTrainedTokenizerFast

from export.import_public import import_public
from scenes import generate

DIM = 512
_START, _END = "<|startoftext|>", "<|endoftext|>"
_TOWERS = {  # width, layers, heads
    "vit-b-32": {"text": (512, 12, 8), "vision": (768, 12, 12), "size_px": 224},
    "small": {"text": (128, 2, 4), "vision": (128, 2, 4), "size_px": 96},
}


def make(out: Path, shape: str) -> None:
    """Write the bundle."""
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    sizes = _TOWERS[shape]
    side_px = sizes["size_px"]
    config = CLIPConfig(
        text_config={
            **_tower(*sizes["text"]),
            "vocab_size": tokenizer.get_vocab_size(),
            "bos_token_id": tokenizer.token_to_id(_START),
            "eos_token_id": tokenizer.token_to_id(_END),
        },
        vision_config={**_tower(*sizes["vision"]), "image_size": side_px, "patch_size": 32},
        projection_dim=DIM,
    )
    with tempfile.TemporaryDirectory() as folder:
        CLIPModel(config).eval().save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
        CLIPImageProcessorPil(
            size={"shortest_edge": side_px}, crop_size={"height": side_px, "width": side_px}
        ).save_pretrained(folder)
        import_public(folder, out, name=f"random-{shape}")


def _tower(width: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=_END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=[_START, _END],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator((generate(3, at).caption for at in range(500)), trainer)
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in (_START, _END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{_START} $A {_END}", special_tokens=marks)
    return tokenizer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=_TOWERS, default="vit-b-32")
    arguments = parser.parse_args()
    make(arguments.out, arguments.shape)
