"""Small CLIP and SigLIP checkpoints of random weights, saved as transformers saves them, with tokenizers of words."""

from collections.abc import Iterable
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SIDE_PX, PATCH_PX, LONGEST = 32, 8, 24
_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_VISION = {**_TOWER, "image_size": SIDE_PX, "patch_size": PATCH_PX}


def clip_tokenizer(words: Iterable[str]) -> Tokenizer:
    """Pairs of bytes that end in `</w>`; each word is one subword, other texts fall into bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    merges: list[tuple[str, str]] = []
    for word in sorted(set(words)):
        for end in range(2, len(word) + 1):
            left, right = word[: end - 1], word[end - 1] + ("</w>" if end == len(word) else "")
            if left + right not in entries:
                entries.append(left + right)
                merges.append((left, right))
    vocabulary = {entry: at for at, entry in enumerate([*entries, "<|startoftext|>", "<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(" ", behavior="removed"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    marks = [(mark, vocabulary[mark]) for mark in ("<|startoftext|>", "<|endoftext|>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=marks
    )
    return tokenizer


def siglip_tokenizer(words: Iterable[str]) -> Tokenizer:
    """SentencePiece: each word is one subword, other texts fall into letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -3.0)]
    pieces += [(chr(letter), -4.0) for letter in range(ord("a"), ord("z") + 1)]
    pieces += [(f"▁{word}", -2.0) for word in sorted(set(words))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def write_clip(folder: Path, words: Iterable[str]) -> transformers.CLIPModel:
    """Save a CLIP."""
    tokenizer = clip_tokenizer(words)
    marks = {
        "bos_token_id": tokenizer.token_to_id("<|startoftext|>"),
        "eos_token_id": tokenizer.token_to_id("<|endoftext|>"),
    }
    text = {
        **_TOWER,
        "max_position_embeddings": LONGEST,
        "vocab_size": tokenizer.get_vocab_size(),
        **marks,
    }
    config = transformers.CLIPConfig(vision_config=_VISION, text_config=text, projection_dim=16)
    return _saved(transformers.CLIPModel, config, tokenizer, folder)


def write_siglip(folder: Path, words: Iterable[str]) -> transformers.SiglipModel:
    """Save a SigLIP."""
    tokenizer = siglip_tokenizer(words)
    text = {
        **_TOWER,
        "max_position_embeddings": LONGEST,
        "vocab_size": tokenizer.get_vocab_size(),
        "projection_size": 32,
        "pad_token_id": 1,
        "bos_token_id": 1,
        "eos_token_id": 1,
    }
    config = transformers.SiglipConfig(vision_config=_VISION, text_config=text)
    return _saved(transformers.SiglipModel, config, tokenizer, folder)


def _saved(kind, config, tokenizer: Tokenizer, folder: Path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config)
        with torch.no_grad():
            for weight in model.parameters():  # larger than the library's, so that pictures differ
                weight.add_(0.05 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return model.eval()
