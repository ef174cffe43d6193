"""What each process of the distributed tests does: `torchrun … -m tests.unit.training.several_processes OUT`."""

import dataclasses
import json
import logging
import sys
from pathlib import Path

from tests.unit.training.plain_pairs import MODEL, plain_config
from training.checkpoint import newest_checkpoint
from training.config import TrainConfig
from training.distributed import is_first, world_size
from training.model import VisualDictionaryConfig
from training.model.momentum import MomentumConfig
from training.objectives import ItcConfig, ItmConfig, MlmConfig, SoftMaskConfig, WeightedObjective
from training.parallel import joined
from training.trainer import Trainer

QUEUED = ItcConfig(momentum=MomentumConfig(decay=0.9, soft_share=0.4), queue_size=16)
WITH_QUEUE = plain_config(objectives=(WeightedObjective(name="itc", objective=QUEUED),))
WITH_DICTIONARY = plain_config(
    model=dataclasses.replace(
        MODEL,
        # so few patches have some codes that these begin anew: the same ones, whoever has the patches
        visual_dictionary=VisualDictionaryConfig(size=12, start_step=2, decay=0.5, started_on=100, dead_share=0.4),
    )
)
ALL_OBJECTIVES = plain_config(
    ema_decay=0.9,
    validate_every=2,
    validation_pairs=10,
    objectives=(
        WeightedObjective(name="itc", objective=ItcConfig()),
        WeightedObjective(name="itm", objective=ItmConfig()),
        WeightedObjective(name="mlm", objective=MlmConfig(), start_step=1),
        WeightedObjective(name="soft_mask", objective=SoftMaskConfig(), start_step=1),
    ),
)


def variants(config: TrainConfig) -> dict[str, TrainConfig]:
    return {
        "ddp": config,
        "fsdp": dataclasses.replace(config, parallel="fsdp"),
        "fsdp, in parts, recomputed": dataclasses.replace(
            config, parallel="fsdp", encode_in_parts=2, recompute_blocks=True
        ),
    }


def trainer_of(config: TrainConfig, workdir: Path) -> Trainer:
    tokenizer = config.data.tokenizer(None)
    pairs = config.pairs_per_process(world_size())
    return Trainer(config, config.data.open(None, tokenizer=tokenizer, batch_size=pairs, seed=config.seed), workdir)


def losses_of(trainer: Trainer, **arguments: int) -> list[float]:
    losses: list[float] = []
    trainer.run(report=lambda report: losses.append(report.loss), **arguments)
    return losses


def main(out: Path) -> None:
    found: dict[str, dict[str, list[float]]] = {"plain": {}, "queue": {}, "resumed": {}, "whole": {}}
    with joined():
        for name, config in variants(plain_config()).items():
            found["plain"][name] = losses_of(trainer_of(config, out / name))
        for name, config in variants(WITH_QUEUE).items():
            found["queue"][name] = losses_of(trainer_of(config, out / f"queue {name}"))
        for name, config in variants(WITH_DICTIONARY).items():
            losses_of(trainer_of(config, out / f"dictionary {name}"))
        for name, config in variants(ALL_OBJECTIVES).items():
            found["whole"][name] = losses_of(trainer_of(config, out / f"whole {name}"))
            losses = losses_of(trainer_of(config, out / f"cut {name}"), max_steps=2)
            again = trainer_of(config, out / f"cut {name}")
            again.restore(newest_checkpoint(out / f"cut {name}"))
            found["resumed"][name] = losses + losses_of(again)
        losses_of(trainer_of(variants(plain_config())["fsdp"], out / "cut plain"), max_steps=2)
        if is_first():
            (out / "losses.json").write_text(json.dumps(found))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main(Path(sys.argv[1]))
