"""Makes a bundle of CLIP's shape with weights made at random: for speed, where what the weights know is no matter.

    python -m benchmarks.clip_bundle OUT [--shape vit-b-32|small]

`vit-b-32` has the towers of CLIP ViT-B/32. `small` has embeddings of the same 512 numbers from towers of two layers, so
that what stands around the engines shows. Both go the way of every public checkpoint, `vernier import`. The tokenizer
is built as CLIP's is and learnt from drawn scenes, or CLIP's own, from the file of merges that `open_clip_torch` and
others bring (`--merges bpe_simple_vocab_16e6.txt.gz`). `--public DIR` keeps the checkpoint that was imported, in a form
that each version of `transformers` since 4.47 reads.
"""

import argparse
import gzip
import json
import tempfile
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from export.import_public import import_public
from scenes import generate

DIM = 512
_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
_WORDS = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
_TOWERS = {  # width, layers, heads
    "vit-b-32": {"text": (512, 12, 8), "vision": (768, 12, 12), "size_px": 224},
    "small": {"text": (128, 2, 4), "vision": (128, 2, 4), "size_px": 96},
}


def make(out: Path, shape: str, *, public: Path | None = None, merges: Path | None = None) -> None:
    """Write the bundle, and its public checkpoint where a folder is named."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = public or Path(folder)
        save_public(checkpoint, shape, merges)
        import_public(str(checkpoint), out, name=f"random-{shape}")


def save_public(folder: Path, shape: str, merges: Path | None = None) -> None:
    """Write a checkpoint as a public one is written; without a file of merges its tokenizer is learnt from scenes."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tokenizer = _tokenizer(_clip_words(merges) if merges else None)
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
    CLIPModel(config).eval().save_pretrained(folder)
    _save_tokenizer(tokenizer, folder)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side_px}, crop_size={"height": side_px, "width": side_px}
    ).to_dict() | {"processor_class": "CLIPProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2))


def _save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files by hand: their names of classes and their older forms are known to every version."""
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    configuration = {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration))


def _tower(width: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def _tokenizer(model: models.BPE | None) -> Tokenizer:
    tokenizer = Tokenizer(model or models.BPE(end_of_word_suffix=_WORD_END, unk_token=_END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    if model is None:
        trainer = trainers.BpeTrainer(
            vocab_size=1500,
            special_tokens=[_START, _END],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            end_of_word_suffix=_WORD_END,
            show_progress=False,
        )
        tokenizer.train_from_iterator((generate(3, at).caption for at in range(500)), trainer)
    tokenizer.add_special_tokens([_START, _END])
    start, end = ((mark, tokenizer.token_to_id(mark)) for mark in (_START, _END))
    tokenizer.post_processor = processors.RobertaProcessing(end, start, trim_offsets=False, add_prefix_space=False)
    return tokenizer


def _clip_words(merges: Path) -> models.BPE:
    """CLIP's own subwords: bytes, bytes that end a word, merges in their order, and the two marks."""
    lines = gzip.decompress(merges.read_bytes()).decode().split("\n")[1 : 49_152 - 256 - 2 + 1]
    pairs = [tuple(line.split()) for line in lines]
    printable = [chr(at) for at in (*range(33, 127), *range(161, 173), *range(174, 256))]
    letters = printable + [chr(256 + at) for at in range(256 - len(printable))]
    words = letters + [letter + _WORD_END for letter in letters] + ["".join(pair) for pair in pairs] + [_START, _END]
    return models.BPE({word: at for at, word in enumerate(words)}, pairs, end_of_word_suffix=_WORD_END, unk_token=_END)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=_TOWERS, default="vit-b-32")
    parser.add_argument("--public", type=Path, metavar="DIR", help="keep the public checkpoint there")
    parser.add_argument("--merges", type=Path, metavar="FILE", help="CLIP's own, compressed")
    arguments = parser.parse_args()
    make(arguments.out, arguments.shape, public=arguments.public, merges=arguments.merges)
