"""Public towers as graphs say what torch says, at other batch sizes and lengths than the traced, padding included."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from export.graphs import GraphPlan, plan_graphs
from export.onnx_file import write_onnx
from tests.unit.training.test_towers import SWIN, WORDS, base, clip, siglip
from training.model import PairModel
from training.model.public_dual import describe_dual

MASK = [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]


def plan_of(name: str, model: PairModel) -> GraphPlan:
    plans = plan_graphs(model.eval(), pixels=torch.randn(2, 3, 32, 32), max_subwords=16, vocab_size=WORDS)
    return next(plan for plan in plans if plan.name == name)


def inputs_of(plan: GraphPlan) -> dict[str, torch.Tensor]:
    """Three pairs where two were traced, five subwords where seven were, and texts of different lengths."""
    made = {}
    for name, example in plan.example.items():
        if name in ("ids", "mask"):
            mask = torch.tensor(MASK)
            made[name] = mask if name == "mask" else torch.randint(3, WORDS, (3, 5)) * mask
        else:
            shape = (3, 5, *example.shape[2:]) if name == "word_tokens" else (3, *example.shape[1:])
            made[name] = torch.randn(shape)
    return made


def public(make, folder: Path) -> PairModel:
    source = make(folder)[1]
    model = describe_dual(source).model.build(WORDS)
    model.load_pretrained()
    return model


@pytest.mark.parametrize("case", ["swin image_encoder", "bert fusion", "clip text_encoder", "siglip image_encoder"])
def test_the_graph_says_what_torch_says(case: str, tmp_path: Path):
    torch.manual_seed(0)
    kind, name = case.split()
    models = {"swin": lambda: base(SWIN).build(WORDS), "bert": lambda: base().build(WORDS)}
    duals = {"clip": clip, "siglip": siglip}
    model = models[kind]() if kind in models else public(duals[kind], tmp_path / kind)
    plan = plan_of(name, model)
    file = tmp_path / "graph.onnx"
    write_onnx(plan, file, max_subwords=16)
    given = inputs_of(plan)
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = plan.module(*given.values())
    found = session.run(None, {key: value.numpy() for key, value in given.items()})
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one.numpy(), atol=2e-5)
