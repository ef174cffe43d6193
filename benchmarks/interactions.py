"""Measures LOUPE's interaction network against always sampling: seconds a step, correlation, share of games spared.

    python -m benchmarks.interactions --start CHECKPOINT [--steps N] [--scenes N] [--json OUT]

Three runs go on from the same checkpoint and take their steps in turns, so ratios hold on a busy machine; they are of
CPU seconds. `baseline` is `training.recipes.baseline:ablation`, `sampled` and `network` are LOUPE's rows without and
with the network. Steps count once the network may be believed. Quality is that of the phrases of held-out scenes: is
the region that is most like a phrase its box (Acc@0.5)? The last part of the report asks how good the targets are: for
true boxes of held-out scenes and random ones of the same sizes, how well do the network's guess, the Shapley value and
the interaction tell them apart, and how far do two samplings of the same boxes agree?
"""

import argparse
import dataclasses
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.training import opened, provenance, without_checkpoints
from training.config import TrainConfig
from training.data.source import Box, PairSource, Sample
from training.data.tokenizer import special_tokens
from training.model.pair_model import PairModel
from training.model.region_head import overlaps, pooled
from training.objectives.games import TokenGame
from training.objectives.loupe import LoupeConfig
from training.objectives.shapley import sampled_interactions, sampled_values
from training.start import going_on
from training.train import load_recipe
from training.trainer import StepReport, Trainer

RECIPES = {
    "baseline": "training.recipes.baseline:ablation",
    "sampled": "training.recipes.loupe:ablation_sampled",
    "network": "training.recipes.loupe:ablation",
}
_OVERLAP = 0.5
_RANDOM_BOXES = 2  # for each true one
_SAMPLES = 8  # of each of two samplings

Report = dict[str, Any]


def main() -> int:
    """Run everything once, print it, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="a checkpoint of training.recipes.baseline:ablation")
    parser.add_argument("--start-name", required=True, help="what the checkpoint is, for the report")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--scenes", type=int, default=150, help="held-out scenes for quality")
    parser.add_argument("--game-scenes", type=int, default=24, help="of them, for the targets")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        configs = {name: _config(recipe, arguments.start, arguments.steps) for name, recipe in RECIPES.items()}
        trainers = {
            name: without_checkpoints(Trainer(config, opened(config), Path(folder) / name))
            for name, config in configs.items()
        }
        steps = in_turns(trainers, arguments.steps)
    samples = trainers["network"].source.held_out(arguments.scenes)
    report: Report = {
        "provenance": provenance() | {"command": _command(arguments)},
        "start": arguments.start_name,
        "steps": arguments.steps,
        "batch": configs["network"].batch_size,
        "runs": {name: _run_report(steps[name], trainers[name], samples, configs[name]) for name in trainers},
    }
    believed = {name: run["cpu_s_per_step"] for name, run in report["runs"].items()}
    report["ratios"] = {
        "sampled_to_network": round(believed["sampled"] / believed["network"], 3),
        "network_to_baseline": round(believed["network"] / believed["baseline"], 3),
        "of_the_games_alone": round(
            (believed["sampled"] - believed["baseline"]) / (believed["network"] - believed["baseline"]), 3
        ),
    }
    report["targets"] = targets(trainers["network"], samples[: arguments.game_scenes])
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 0


def in_turns(trainers: dict[str, Trainer], steps: int) -> dict[str, list[tuple[float, StepReport]]]:
    """Let every run take a step in turn: CPU seconds and report of each."""
    taken: dict[str, list[tuple[float, StepReport]]] = {name: [] for name in trainers}
    for round_ in range(steps):
        for name in sorted(trainers, reverse=bool(round_ % 2)):
            reports: list[StepReport] = []
            begin = time.process_time()
            trainers[name].run(max_steps=1, report=reports.append)
            taken[name].append((time.process_time() - begin, reports[-1]))
    return taken


@torch.no_grad()
def accuracy(model: PairModel, source: PairSource, samples: Sequence[Sample]) -> float:
    """The share of phrases whose most similar region overlaps their box by half."""
    assert model.region_head is not None
    model.eval()
    features = model.encode_images(_pixels(source, samples))
    best = model.region_head.best(model.regions(features.tokens, features.patch_embeddings))
    hits: list[bool] = []
    for row, sample in enumerate(samples):
        encoded = source.text_transform.encode([phrase for phrase, _ in sample.phrases])
        texts = model.encode_texts(torch.from_numpy(encoded.ids), torch.from_numpy(encoded.mask).bool()).embedding
        chosen = (texts @ best.embeddings[row].T).argmax(dim=1)
        truth = torch.tensor([box for _, box in sample.phrases])
        common = overlaps(best.boxes[row, chosen][:, None].clamp(0, 1), truth[:, None])
        hits += (common.flatten() >= _OVERLAP).tolist()
    return float(np.mean(hits))


@torch.no_grad()
def targets(trainer: Trainer, samples: Sequence[Sample]) -> Report:
    """How well what confidences are trained towards tells true boxes from random ones of the same sizes."""
    model, source = trainer.model.eval(), trainer.source
    assert model.region_head is not None
    assert model.interaction_network is not None
    rows, boxes, is_true = _boxes(samples)
    encoded = source.text_transform.encode([sample.caption for sample in samples])
    ids, mask = torch.from_numpy(encoded.ids), torch.from_numpy(encoded.mask).bool()
    pixels, special = _pixels(source, samples), special_tokens(source.text_transform.tokenizer)
    membership = model.region_head.membership(
        (boxes[:, None, :2] + boxes[:, None, 2:]) / 2, boxes[:, None, 2:] - boxes[:, None, :2]
    )
    features = model.encode_pairs(pixels, ids, mask)
    guess, _ = model.interaction_network(
        pooled(membership, features.patch_embeddings[rows]),
        boxes[:, None],
        features.image_embedding[rows],
        features.text_embedding[rows],
    )
    teams = F.pad(membership >= LoupeConfig().token_game.member, (0, ids.shape[1]))
    game = TokenGame(model=model, pixels=pixels[rows], ids=ids[rows], mask=mask[rows], special=special)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, sample in (("value", sampled_values), ("interaction", sampled_interactions)):
        first, second = (sample(game, teams, game.is_player, num_samples=_SAMPLES)[:, 0] for _ in range(2))
        found[name] = first, second
    both = {name: (first + second) / 2 for name, (first, second) in found.items()}
    return {
        "true_boxes": int(is_true.sum()),
        "random_boxes": int((~is_true).sum()),
        "samples": 2 * _SAMPLES,
        "auroc": {name: _auroc(values, is_true) for name, values in (both | {"network": guess[:, 0]}).items()},
        "mean_of_true_boxes": {name: round(values[is_true].mean().item(), 4) for name, values in both.items()},
        "mean_of_random_boxes": {name: round(values[~is_true].mean().item(), 4) for name, values in both.items()},
        "correlation_of_two_samplings": {name: _correlation(*pair) for name, pair in found.items()},
        "correlation_of_network_and_sampled_value": _correlation(guess[:, 0], both["value"]),
    }


def _config(recipe: str, start: Path, steps: int) -> TrainConfig:
    config = going_on(load_recipe(recipe), start)
    return dataclasses.replace(
        config, num_steps=steps, num_workers=0, report_every=1, validate_every=None, checkpoint_every=steps + 1
    )


def _run_report(
    steps: list[tuple[float, StepReport]], trainer: Trainer, samples: Sequence[Sample], config: TrainConfig
) -> Report:
    believed_from = LoupeConfig().token_game.always_sampled_steps
    kept = steps[believed_from:] or steps
    report: Report = {
        "recipe": config.recipe,
        "cpu_s_per_step": round(statistics.median(cpu for cpu, _ in kept), 4),
        "median_over_steps": len(kept),
    }
    if trainer.model.region_head is not None:
        trainer.model.load_state_dict(trainer.average.weights if trainer.average else trainer.model.state_dict())
        report["acc@0.5"] = round(accuracy(trainer.model, trainer.source, samples), 4)
    for name in ("skipped", "correlation", "doubt"):
        told = [step.report[f"loupe/{name}"] for _, step in kept if f"loupe/{name}" in step.report]
        if told:
            report[name] = round(statistics.mean(told), 4)
    return report


def _boxes(samples: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor]:
    """The picture of each box, the boxes, and which are true; beside each true one some of its size anywhere."""
    rows: list[int] = []
    boxes: list[Box] = []
    is_true: list[bool] = []
    rng = np.random.default_rng(0)
    for row, sample in enumerate(samples):
        for _, (x0, y0, x1, y1) in sample.phrases:
            width, height = x1 - x0, y1 - y0
            anywhere = rng.uniform(0, 1, (_RANDOM_BOXES, 2)) * (1 - width, 1 - height)
            boxes += [(x0, y0, x1, y1), *((x, y, x + width, y + height) for x, y in anywhere.tolist())]
            rows += [row] * (1 + _RANDOM_BOXES)
            is_true += [True] + [False] * _RANDOM_BOXES
    return torch.tensor(rows), torch.tensor(boxes, dtype=torch.float32), torch.tensor(is_true)


def _auroc(values: Tensor, is_true: Tensor) -> float:
    above = values[is_true][:, None] > values[~is_true][None]
    return round(above.float().mean().item(), 4)


def _correlation(first: Tensor, second: Tensor) -> float:
    return round(torch.corrcoef(torch.stack([first, second]))[0, 1].item(), 4)


def _pixels(source: PairSource, samples: Sequence[Sample]) -> Tensor:
    return torch.from_numpy(np.stack([source.image_transform.apply(sample.image) for sample in samples]))


def _command(arguments: argparse.Namespace) -> str:
    """As it was called, the checkpoint by its name."""
    words = ["CHECKPOINT" if word == str(arguments.start) else word for word in sys.argv[1:]]
    return "python -m benchmarks.interactions " + shlex.join(words)


if __name__ == "__main__":
    raise SystemExit(main())
