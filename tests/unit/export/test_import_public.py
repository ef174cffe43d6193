"""Public checkpoints of random weights, saved as the libraries save them, imported and held against transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from export.import_public import import_public
from runtime.encoder import Encoder
from runtime.errors import ExportError
from runtime.grounding import ground
from runtime.proofread import proofread

transformers = pytest.importorskip("transformers")

SIDE, PATCH, LONGEST = 32, 8, 24
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
          "image_size": SIDE, "patch_size": PATCH, "hidden_act": "gelu"}  # fmt: skip
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": LONGEST, "hidden_act": "gelu"}  # fmt: skip
TEXTS = ["a red circle", "Two green stars above a blue square!", "x"]


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(3)
    sizes = [(60, 40), (33, 90), (32, 32)]
    return [
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        for size in sizes
    ]


def clip_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [
        *alphabet,
        *(f"{letter}</w>" for letter in alphabet),
        "re",
        "red</w>",
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {entry: at for at, entry in enumerate(entries)}
    merges = [("r", "e"), ("re", "d</w>")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [(mark, vocabulary[mark]) for mark in ("<|startoftext|>", "<|endoftext|>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=marks
    )
    return tokenizer


def siglip_tokenizer() -> Tokenizer:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), ("▁", -3.0)]
    pieces += [(chr(letter), -4.0) for letter in range(ord("a"), ord("z") + 1)]
    pieces += [("▁red", -2.0), ("▁a", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def chinese_tokenizer() -> Tokenizer:
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "一", "只", "猫"]
    entries += [chr(letter) for letter in range(ord("a"), ord("z") + 1)]
    entries += [f"##{chr(letter)}" for letter in range(ord("a"), ord("z") + 1)]
    vocabulary = {entry: at for at, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that pictures and texts differ."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.15)
            elif "norm" not in name and "logit" not in name:
                weight.normal_(std=0.05)
    return model.eval()


def save_clip(folder: Path) -> torch.nn.Module:
    tokenizer = clip_tokenizer()
    marks = {"bos_token_id": tokenizer.token_to_id("<|startoftext|>"),
             "eos_token_id": tokenizer.token_to_id("<|endoftext|>")}  # fmt: skip
    config = transformers.CLIPConfig(
        vision_config=VISION, text_config={**TEXT, "vocab_size": tokenizer.get_vocab_size(), **marks}, projection_dim=16
    )
    model = randomised(transformers.CLIPModel(config))
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(folder)
    return model


def save_siglip(folder: Path) -> torch.nn.Module:
    config = transformers.SiglipConfig(
        vision_config=VISION,
        text_config={**TEXT, "vocab_size": siglip_tokenizer().get_vocab_size(), "projection_size": 32,
                     "pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1},
    )  # fmt: skip
    model = randomised(transformers.SiglipModel(config))
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-3.0)
    model.save_pretrained(folder)
    save_tokenizer(siglip_tokenizer(), folder)
    transformers.SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return model


def save_chinese(folder: Path) -> torch.nn.Module:
    config = transformers.ChineseCLIPConfig(
        vision_config=VISION,
        text_config={**TEXT, "vocab_size": chinese_tokenizer().get_vocab_size(), "pad_token_id": 0},
        projection_dim=16,
    )
    model = randomised(transformers.ChineseCLIPModel(config))
    model.save_pretrained(folder)
    save_tokenizer(chinese_tokenizer(), folder)
    size = {"height": SIDE, "width": SIDE}
    transformers.ChineseCLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=True).save_pretrained(folder)
    return model


SAVE = {"clip": save_clip, "siglip": save_siglip, "chinese": save_chinese}


@pytest.fixture(scope="module", params=list(SAVE))
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A public model, the folder it was saved in, and its bundle."""
    folder = tmp_path_factory.mktemp(request.param)
    model = SAVE[request.param](folder / "public")
    import_public(str(folder / "public"), folder / "bundle")
    return request.param, model, folder / "public", Encoder.load(folder / "bundle", provider="cpu", num_threads=1)


def theirs_of(kind: str, model, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What transformers itself says, with its own processor and tokenizer."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pad = {"clip": "<|endoftext|>", "siglip": "</s>", "chinese": "[PAD]"}[kind]
    tokenizer.pad_token = pad
    padding = {"padding": "max_length" if kind == "siglip" else True, "max_length": LONGEST}
    texts = tokenizer(TEXTS, return_tensors="pt", truncation=True, **padding)
    asked = {"input_ids": texts["input_ids"]} | (
        {} if kind == "siglip" else {"attention_mask": texts["attention_mask"]}
    )
    with torch.no_grad():
        out = model(pixel_values=processor(images=pictures(), return_tensors="pt")["pixel_values"], **asked)
    unit = torch.nn.functional.normalize
    return unit(out.image_embeds, dim=-1).numpy(), unit(out.text_embeds, dim=-1).numpy()


def test_an_imported_bundle_says_what_transformers_says(imported) -> None:
    kind, model, folder, encoder = imported
    image, text = theirs_of(kind, model, folder)
    np.testing.assert_allclose(encoder.embed_images(pictures()).embedding, image, atol=2e-4)
    np.testing.assert_allclose(encoder.embed_texts(TEXTS).embedding, text, atol=2e-4)
    assert np.linalg.norm(image[0] - image[1]) > 0.01, "the weights say nothing, so neither does this test"
    assert np.linalg.norm(text[0] - text[1]) > 0.003


def test_it_grounds_and_proofreads_at_once(imported) -> None:
    _, model, _, encoder = imported
    features = encoder.embed_images(pictures()[:1])
    assert features.patch_embeddings is not None
    assert features.patch_embeddings.shape[1] == (SIDE // PATCH) ** 2
    assert ground(encoder, features, ["red circle"])[0].method == "patch_similarity"
    proof = proofread(encoder, features, "a red circle")
    assert proof.method == "leave_one_out"
    assert encoder.manifest.temperature == pytest.approx(float(torch.exp(-model.logit_scale.detach())), rel=1e-4)


def test_siglips_own_sigmoid_is_its_match(imported) -> None:
    kind, model, folder, encoder = imported
    if kind != "siglip":
        assert encoder.manifest.calibration.match.scale == 1
        return
    image, text = theirs_of(kind, model, folder)
    expected = 1 / (1 + np.exp(-(np.exp(2.0) * np.sum(image * text, axis=1) - 3.0)))
    found = encoder.score_pairs(encoder.embed_texts(TEXTS), encoder.embed_images(pictures()))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def as_open_clip(model, folder: Path, tokenizer: Tokenizer) -> None:
    """Write a CLIP of transformers as OpenCLIP would: the reverse of the import, written by hand."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    out = {
        "logit_scale": state["logit_scale"],
        "visual.proj": state["visual_projection.weight"].T,
        "text_projection": state["text_projection.weight"].T,
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
    }
    norms = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm",
             "ln_final": "text_model.final_layer_norm"}  # fmt: skip
    names = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2",
             "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}  # fmt: skip
    for prefix, tower in (("visual.transformer", "vision_model"), ("transformer", "text_model")):
        for layer in range(2):
            for open_name, name in names.items():
                norms[f"{prefix}.resblocks.{layer}.{open_name}"] = f"{tower}.encoder.layers.{layer}.{name}"
            for part in ("weight", "bias"):
                stack = [state[f"{tower}.encoder.layers.{layer}.self_attn.{x}_proj.{part}"] for x in "qkv"]
                out[f"{prefix}.resblocks.{layer}.attn.in_proj_{part}"] = torch.cat(stack)
    for open_name, name in norms.items():
        out |= {f"{open_name}.{part}": state[f"{name}.{part}"] for part in ("weight", "bias")}
    folder.mkdir()
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in out.items()}, folder / "open_clip_model.safetensors"
    )
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "patch_size": PATCH, "head_width": 16,
                           "mlp_ratio": 2},
            "text_cfg": {"context_length": LONGEST, "vocab_size": tokenizer.get_vocab_size(), "width": 32, "heads": 2,
                         "layers": 2, "mlp_ratio": 2},
        },
        "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
    }  # fmt: skip
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_tokenizer(tokenizer, folder)


def test_an_open_clip_checkpoint_is_the_same_model(tmp_path: Path) -> None:
    model = save_clip(tmp_path / "public")
    as_open_clip(model, tmp_path / "open", clip_tokenizer())
    import_public(str(tmp_path / "open"), tmp_path / "bundle")
    encoder = Encoder.load(tmp_path / "bundle", provider="cpu", num_threads=1)
    image, text = theirs_of("clip", model, tmp_path / "public")
    np.testing.assert_allclose(encoder.embed_images(pictures()).embedding, image, atol=2e-4)
    np.testing.assert_allclose(encoder.embed_texts(TEXTS).embedding, text, atol=2e-4)


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_what_cannot_be_reproduced_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "public"
    save_clip(folder)
    preprocessing = next(
        f for f in (folder / "preprocessor_config.json", folder / "processor_config.json") if f.exists()
    )
    before = preprocessing.read_text()
    edit(preprocessing, resample=0)
    with pytest.raises(ExportError, match="filter 0") as caught:
        import_public(str(folder), tmp_path / "bundle")
    assert caught.value.code == "transform_unsupported"
    preprocessing.write_text(before)
    edit(preprocessing, size={"shortest_edge": SIDE + 8})
    with pytest.raises(ExportError, match="not known here"):
        import_public(str(folder), tmp_path / "bundle")
    preprocessing.write_text(before)
    with pytest.raises(ExportError, match="--validation"):
        import_public(str(folder), tmp_path / "bundle", precision="int8")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ExportError, match="0 safetensors"):
        import_public(str(folder), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_directory_of_something_else_is_named(tmp_path: Path) -> None:
    save_file({"logit_scale": torch.zeros(())}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ExportError, match="no CLIP, SigLIP") as caught:
        import_public(str(tmp_path), tmp_path / "bundle")
    assert caught.value.code == "checkpoint_invalid"
