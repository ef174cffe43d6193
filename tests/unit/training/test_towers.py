"""Public towers: a dual encoder made of them says what the public model says."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models
from torch import nn
from torch.nn import functional as F

from runtime.errors import DataError
from tests.numerics.small import small_config
from training.checkpoint import load_trained, newest_checkpoint
from training.config import OptimizerConfig
from training.data.masked_words import mask_words
from training.data.tokenizer import special_tokens
from training.model import ModelConfig
from training.model.bert_fusion import BertFusionConfig, describe_fusion
from training.model.fusion_encoder import FusionConfig
from training.model.momentum import MomentumConfig
from training.model.public import architecture
from training.model.public_dual import describe_dual
from training.model.public_heads import FirstTokenConfig
from training.model.text_tower import TextTowerConfig, describe_text
from training.model.vision_tower import VisionTowerConfig, describe_vision
from training.objectives import ItcConfig, ItmConfig, MlmConfig, WeightedObjective
from training.optimizer import build_optimizer
from training.recipes import baseline, from_clip
from training.serialise import from_json, to_json
from training.trainer import Trainer

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VIT = architecture("vit", image_size=32, patch_size=8, **SIZES)
SWIN = architecture("swin", image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
BERT = architecture("bert", max_position_embeddings=16, **{**SIZES, "num_hidden_layers": 4})
LONG_BERT = architecture("bert", max_position_embeddings=48, **SIZES)
WORDS = 40


def base(image: str = VIT) -> ModelConfig:
    """Image tower, lower and upper layers of a BERT, ALBEF's heads."""
    return ModelConfig(
        image=VisionTowerConfig(architecture=image),
        text=TextTowerConfig(architecture=BERT, depth=2),
        fusion=BertFusionConfig(architecture=BERT, first_layer=2, relevance_layer=1),
        dim=8,
        image_head=FirstTokenConfig() if image == VIT else None,
        text_head=FirstTokenConfig(),
        pools=2,
    )


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts, the second shorter; the last subword is 39, which CLIP takes for the end."""
    ids = torch.tensor([[2, 7, 8, 9, 39], [2, 5, 39, 0, 0]])
    return ids, ids != 0


def save(folder: Path, model: nn.Module) -> str:
    with torch.no_grad():
        for weight in model.parameters():  # no zero biases: they would hide what is left out
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    return str(folder)


def clip(folder: Path) -> tuple[transformers.CLIPModel, str]:
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={
            **SIZES,
            "vocab_size": WORDS,
            "max_position_embeddings": 16,
            "eos_token_id": 39,
            "pad_token_id": 0,
        },
        vision_config={**SIZES, "hidden_size": 24, "num_attention_heads": 3, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    model = transformers.CLIPModel(config)
    return model.eval(), save(folder, model)


def siglip(folder: Path) -> tuple[transformers.SiglipModel, str]:
    torch.manual_seed(0)
    config = transformers.SiglipConfig(
        text_config={**SIZES, "vocab_size": WORDS, "max_position_embeddings": 16, "projection_size": 24},
        vision_config={**SIZES, "hidden_size": 24, "num_attention_heads": 3, "image_size": 32, "patch_size": 8},
    )
    model = transformers.SiglipModel(config)
    return model.eval(), save(folder, model)


def test_clip_towers_say_what_the_public_clip_says(tmp_path: Path):
    public, source = clip(tmp_path)
    config = describe_dual(source).model
    model = from_json(json.loads(json.dumps(to_json(config)))).build(WORDS).eval()
    model.load_pretrained()
    ids, mask = texts()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = public(input_ids=ids, attention_mask=mask.long(), pixel_values=pixels)
        image, text = model.encode_images(pixels), model.encode_texts(ids, mask)
    torch.testing.assert_close(image.embedding, expected.image_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text.embedding, expected.text_embeds, atol=1e-5, rtol=1e-5)
    assert image.tokens.shape == (2, 16, 24)
    assert image.patch_embeddings.shape == (2, 16, 12)
    hidden = expected.text_model_output.last_hidden_state
    torch.testing.assert_close(text.tokens[mask], hidden[mask], atol=1e-5, rtol=1e-5)


def test_siglip_towers_say_what_the_public_siglip_says(tmp_path: Path):
    public, source = siglip(tmp_path)
    config = describe_dual(source).model
    model = config.build(WORDS).eval()
    model.load_pretrained()
    ids, mask = texts()
    pixels = torch.randn(2, 3, 32, 32)
    pad = public.config.text_config.pad_token_id
    padded = F.pad(torch.where(mask, ids, pad), (0, 16 - ids.shape[1]), value=pad)
    with torch.no_grad():
        expected = public(input_ids=padded, pixel_values=pixels)
        image, text = model.encode_images(pixels), model.encode_texts(ids, mask)
        alone = public.vision_model.head(expected.vision_model_output.last_hidden_state[:, 3:4])
    torch.testing.assert_close(image.embedding, expected.image_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text.embedding, expected.text_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(image.patch_embeddings[:, 3], F.normalize(alone, dim=-1), atol=1e-5, rtol=1e-5)
    assert text.tokens.shape == (2, 5, 16)


def test_lower_layers_are_the_public_bert_and_upper_layers_start_from_it(tmp_path: Path):
    torch.manual_seed(0)
    public = transformers.BertModel(transformers.BertConfig(**{**json.loads(BERT), "vocab_size": WORDS}))
    source = save(tmp_path, public)
    config = dataclasses.replace(
        base(), text=describe_text(source, depth=2), fusion=describe_fusion(source, first_layer=2, relevance_layer=0)
    )
    model = config.build(WORDS).eval()
    model.load_pretrained()
    ids, mask = texts()
    with torch.no_grad():
        hidden = public.eval()(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
        tokens = model.encode_texts(ids, mask).tokens
    torch.testing.assert_close(tokens[mask], hidden[2][mask], atol=1e-4, rtol=1e-4)
    upper = model.fusion_encoder.layers[1].layer.state_dict()
    for name, value in public.encoder.layer[3].state_dict().items():
        assert torch.equal(upper[name], value), name


def test_bert_fusion_reads_in_both_directions_and_not_padding():
    model = base().build(WORDS).eval()
    mask = texts()[1]
    words = torch.randn(2, 5, 16, requires_grad=True)
    fused = model.fuse(words, mask, torch.randn(2, 16, 16))
    torch.testing.assert_close(fused.relevance.sum(dim=-1), torch.ones(2, 5))
    fused.tokens[:, 0, 0].sum().backward()
    seen = words.grad.abs().sum(dim=-1) > 0
    assert torch.equal(seen, mask)


@pytest.mark.parametrize("image", [VIT, SWIN])
def test_base_learns_and_every_weight_has_a_gradient(image: str):
    torch.manual_seed(0)
    model = base(image).build(WORDS)
    ids, mask = texts()
    features = model.encode_pairs(torch.randn(2, 3, 32, 32), ids, mask)
    rows, columns = model.image_encoder.grid
    assert features.image_tokens.shape[1] == rows * columns
    fused = model.fuse(features.text_tokens, mask, features.image_tokens)
    loss = model.match(fused).sum() + model.masked_words(fused.tokens).square().mean()
    loss = loss + (features.image_embedding[0] - features.text_embedding[1]).square().sum() * features.temperature
    loss.backward()
    silent = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert silent == []


@pytest.mark.parametrize("config", [base(), base(SWIN)])
def test_no_layer_norm_vanishes_in_half_precision(config: ModelConfig):
    norms = [part for part in config.build(WORDS).modules() if isinstance(part, nn.LayerNorm)]
    assert norms
    assert all(torch.tensor(norm.eps, dtype=torch.half) > 0 for norm in norms)


def test_wrong_sources_are_refused_in_words(tmp_path: Path):
    with pytest.raises(DataError, match="is no public checkpoint"):
        describe_vision(str(tmp_path / "nothing"))
    _, source = clip(tmp_path / "clip")
    with pytest.raises(DataError, match="knows 40 subwords and the tokenizer 50"):
        describe_text(source).build(50)
    wrong = FirstTokenConfig(bias=False, weights=source, weights_name="visual_projection").build(16, 12)
    with pytest.raises(DataError, match=r"the weight weight is \(12, 24\), and \(12, 16\) is wanted"):
        wrong.load_pretrained()
    with pytest.raises(DataError, match="'clip_vision_model' is no text tower"):
        TextTowerConfig(architecture=architecture("clip_vision_model")).build(WORDS)
    with pytest.raises(ValueError, match="one of 2 layers"):
        BertFusionConfig(architecture=BERT, first_layer=2, relevance_layer=2).build(text_width=16, image_width=16)
    with pytest.raises(ValueError, match="8 wide"):
        BertFusionConfig(architecture=BERT, first_layer=2, relevance_layer=1).build(text_width=8, image_width=16)


def test_the_recipes_from_clip_read_what_the_checkpoint_expects(tmp_path: Path):
    with pytest.raises(DataError, match="towers/clip"):
        from_clip.base(tmp_path)
    _, source = clip(tmp_path / "towers" / "clip")
    (Path(source) / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3]}')
    for recipe in (from_clip.base, from_clip.small, from_clip.contrast):
        config = recipe(tmp_path)
        assert config.recipe == f"training.recipes.from_clip:{recipe.__name__}"
        assert config.recipe in recipe.__doc__
        assert from_json(json.loads(json.dumps(to_json(config)))) == config
        assert config.data.size_px == 32
        assert config.data.mean == (0.1, 0.2, 0.3)
        assert config.data.std == pytest.approx((0.2686, 0.2613, 0.2758), abs=1e-4)
        assert config.data.max_subwords == 16
    assert config.model == describe_dual(source).model
    assert [term.name for term in config.objectives] == ["itc"]
    with torch.no_grad():
        assert config.model.build(WORDS).temperature.item() == pytest.approx(0.01)


def test_a_checkpoint_may_be_named_in_a_file(tmp_path: Path):
    _, source = clip(tmp_path / "elsewhere")
    (tmp_path / "towers").mkdir()
    (tmp_path / "towers" / "clip.txt").write_text(f"{source}\n")
    assert from_clip.small(tmp_path).model.image.weights == source
    (tmp_path / "towers" / "clip.txt").write_text(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="neither a directory nor a checkpoint that can be fetched"):
        from_clip.small(tmp_path)


def test_public_weights_wait_and_then_learn_at_a_share_of_the_rate(tmp_path: Path):
    _, source = clip(tmp_path)
    dual = describe_dual(source).model
    model = dataclasses.replace(dual, fusion=FusionConfig(depth=1, heads=2)).build(WORDS)
    config = OptimizerConfig(learning_rate=1.0, public_share=0.1, public_waits=2)
    groups = build_optimizer(model, config).param_groups
    public = {id(weight) for group in groups if group["is_public"] for weight in group["params"]}
    given = {name for name, weight in model.named_parameters() if id(weight) in public}
    assert {name.split(".")[0] for name in given} == {
        "image_encoder", "text_encoder", "image_projection", "text_projection"
    }  # fmt: skip
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert [config.public_rate(0.5, step=step) for step in (1, 2)] == [0.0, 0.05]


def test_added_subwords_begin_as_the_mean_and_unknown_ones_are_left_out(tmp_path: Path):
    public, source = clip(tmp_path)
    described = dataclasses.replace(describe_text(source), added_subwords=1)
    tower = described.build(WORDS + 1)
    tower.load_pretrained()
    table = public.text_model.get_input_embeddings().weight
    torch.testing.assert_close(tower.word_vectors[:-1], table)
    torch.testing.assert_close(tower.word_vectors[-1], table.mean(dim=0))
    assert len(described.build(WORDS - 3).word_vectors) == WORDS - 3  # as far as the tokenizer knows it
    with pytest.raises(DataError, match="knows 41 subwords and the tokenizer 42"):
        described.build(WORDS + 2)


def test_the_base_recipe_takes_towers_beside_the_data(tmp_path: Path):
    plain = baseline.base(tmp_path)
    assert plain.model.image.weights is None
    assert plain.data.size_px == 256
    torch.manual_seed(0)
    save(tmp_path / "towers" / "image", transformers.SwinModel(transformers.SwinConfig(**json.loads(SWIN))))
    save(tmp_path / "towers" / "text", transformers.BertModel(transformers.BertConfig(**json.loads(BERT))))
    config = baseline.base(tmp_path)
    assert config.data.size_px == 32
    assert config.data.tokenizer_file == str(tmp_path / "towers" / "text" / "tokenizer.json")
    assert config.model.image_head is None
    assert config.model.fusion.weights == str(tmp_path / "towers" / "text")


def test_special_tokens_by_the_names_of_public_tokenizers():
    names = {"<|startoftext|>": 0, "<|endoftext|>": 1, "cat": 2}
    special = special_tokens(Tokenizer(models.WordLevel(names, unk_token="<|endoftext|>")))
    assert (special.start, special.end, special.pad, special.mask) == (0, 1, 1, None)
    assert special.words() == [2]
    with pytest.raises(ValueError, match="which this tokenizer lacks"):
        mask_words(torch.tensor([[0, 2, 1]]), torch.ones(1, 3, dtype=torch.bool), special, masked_share=0.5)
    with pytest.raises(ValueError, match=r"the tokenizer lacks \[PAD\], \[UNK\]"):
        special_tokens(Tokenizer(models.WordLevel({"cat": 0}, unk_token="cat")))


def test_a_run_of_public_towers_resumes_exactly_and_needs_its_source_no_more(tmp_path: Path):
    """Momentum, queue and towers through the trainer; the checkpoint stands without the public directory."""
    torch.manual_seed(0)
    source = save(tmp_path / "swin", transformers.SwinModel(transformers.SwinConfig(**json.loads(SWIN))))
    momentum = MomentumConfig(decay=0.9, soft_warmup_steps=2)
    model = dataclasses.replace(base(SWIN), image=describe_vision(source))
    model = dataclasses.replace(model, text=TextTowerConfig(architecture=LONG_BERT, depth=1))
    model = dataclasses.replace(
        model, fusion=BertFusionConfig(architecture=LONG_BERT, first_layer=1, relevance_layer=0)
    )
    config = small_config(
        model=model,
        objectives=(
            WeightedObjective(name="itc", objective=ItcConfig(momentum=momentum, queue_size=16)),
            WeightedObjective(name="itm", objective=ItmConfig(max_pairs=4)),
            WeightedObjective(name="mlm", objective=MlmConfig(max_pairs=4, momentum=momentum)),
        ),
        num_steps=4,
    )

    def losses(trainer: Trainer, **arguments: int) -> list[float]:
        found: list[float] = []
        trainer.run(report=lambda report: found.append(report.loss), **arguments)
        return found

    def trainer(name: str) -> Trainer:
        tokenizer = config.data.tokenizer(None)
        return Trainer(config, config.data.open(None, tokenizer=tokenizer, batch_size=8, seed=0), tmp_path / name)

    whole = losses(trainer("whole"))
    first = losses(trainer("cut"), max_steps=2)
    again = trainer("cut")
    again.restore(newest_checkpoint(tmp_path / "cut"))
    assert [*first, *losses(again)] == whole
    shutil.rmtree(source)
    trained = load_trained(newest_checkpoint(tmp_path / "cut"))
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
