"""Drawn photos with captions, a backbone with random weights and a tiny text tower, all made on the spot."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220), "white": (250, 250, 250)}
SHAPES = ("ball", "box")
SIDE_PX = 32
FINE_CHANNELS = 5


def write_photos(folder: Path, *, count: int = 24, num_dev: int = 4) -> None:
    """Pictures of one coloured thing on the left or right, with two captions each."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(count):
        colour = list(COLOURS)[number % 4]
        shape = SHAPES[number // 4 % 2]
        left = number // 8 % 2 == 0
        picture = Image.new("RGB", (SIDE_PX, SIDE_PX), (90 + number, 90, 90))
        x = 3 if left else 17
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if shape == "ball" else draw.rectangle)((x, 8, x + 11, 19), fill=COLOURS[colour])
        picture.save(folder / "images" / f"{number}.png")
        side = "left" if left else "right"
        captions = [f"A {colour} {shape} on the {side} .", f"a {shape} that is {colour}"]
        split = "dev" if number < num_dev else "train"
        lines.append({"image": f"{number}.png", "captions": captions, "split": split})
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_backbone(file: Path, *, is_channels_last: bool = False, channels: int = 12, seed: int = 0) -> None:
    """Convolutions into 8 x 8 and then 4 x 4 cells, pooling, and three classes, as an ONNX file."""
    rng = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.2, (FINE_CHANNELS, 3, 4, 4)).astype(np.float32), "fine_weight"),
        numpy_helper.from_array(rng.normal(0, 0.3, (channels, FINE_CHANNELS, 2, 2)).astype(np.float32), "conv_weight"),
        numpy_helper.from_array(rng.normal(0, 1, (channels, 3)).astype(np.float32), "class_weight"),
    ]
    size = ["images", SIDE_PX, SIDE_PX, 3] if is_channels_last else ["images", 3, SIDE_PX, SIDE_PX]
    first = (
        [helper.make_node("Transpose", ["picture"], ["turned"], perm=[0, 3, 1, 2])]
        if is_channels_last
        else [helper.make_node("Identity", ["picture"], ["turned"])]
    )
    nodes = [
        *first,
        helper.make_node("Conv", ["turned", "fine_weight"], ["fine_convolved"], strides=[4, 4]),
        helper.make_node("Relu", ["fine_convolved"], ["fine_features"]),
        helper.make_node("Conv", ["fine_features", "conv_weight"], ["convolved"], strides=[2, 2]),
        helper.make_node("Relu", ["convolved"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "class_weight"], ["classes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, ["images", 3])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), file)


def write_tower(directory: Path, captions: list[str]) -> None:
    """A BERT of one small layer with random weights, and a tokenizer of the captions' words."""
    import torch
    from transformers import BertConfig, BertModel

    from training.data.tokenizer import subword_tokenizer

    directory.mkdir(parents=True)
    tokenizer = subword_tokenizer(captions, vocab_size=120)
    tokenizer.save(str(directory / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertModel(
            BertConfig(
                vocab_size=tokenizer.get_vocab_size(),
                hidden_size=24,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
            )
        )
    model.save_pretrained(directory)
