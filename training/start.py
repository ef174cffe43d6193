"""Starting from another run's weights: what two recipes share is taken over, and what only one has begins anew.

Not a resumption: the optimizer, the rate and the steps begin at the beginning, so a recipe that goes on from a trained
model is compared fairly with another that does the same.
"""

import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from runtime.errors import DataError
from training.checkpoint import load_trained, read_config
from training.config import TrainConfig
from training.model.pair_model import PairModel

_log = logging.getLogger(__name__)

_NAMES_IN_MESSAGE = 4


def going_on(config: TrainConfig, start: Path) -> TrainConfig:
    """The recipe as it goes on from a checkpoint: objectives that were trained there need not wait again.

    Those that were not keep the part of their waiting that comes after the latest of these had begun.

    Raises:
        TrainingError: `checkpoint_missing` or `checkpoint_damaged`.
    """
    trained = {term.name for term in read_config(start).objectives}
    waited = max((term.start_step for term in config.objectives if term.name in trained), default=0)
    terms = tuple(
        replace(term, start_step=0 if term.name in trained else max(0, term.start_step - waited))
        for term in config.objectives
    )
    return replace(config, start_from=str(start), objectives=terms)


def _lengthened(value: Tensor, own: Tensor, num_words: int) -> Tensor:
    """A weight over the words of the start, with the recipe's own values for words that it adds behind them."""
    is_over_words = len(value.shape) > 0 and len(value) == num_words < len(own) and value.shape[1:] == own.shape[1:]
    return torch.cat([value, own[num_words:]]) if is_over_words else value


def take_weights(model: PairModel, start: Path) -> None:
    """Give a fresh model the weights of a checkpoint (their average, where it has one); what it lacks stays as it is.

    Raises:
        TrainingError: `checkpoint_missing`, `checkpoint_damaged` or `checkpoint_mismatch`: it cannot be read.
        DataError: `start_invalid`: a weight is of another shape, or the two have nothing in common.
    """
    trained = load_trained(start)
    found, own = trained.model.state_dict(), model.state_dict()
    num_words = trained.tokenizer.get_vocab_size()
    common = {name: _lengthened(value, own[name], num_words) for name, value in found.items() if name in own}
    wrong = [name for name, value in common.items() if value.shape != own[name].shape]
    if wrong or not common:
        name = wrong[0] if wrong else ""
        why = (
            f"{name} is {tuple(found[name].shape)} there and {tuple(own[name].shape)} in the recipe"
            if wrong
            else "they share no weight"
        )
        raise DataError(
            f"the recipe cannot start from {start}: {why}. Start from a checkpoint of a recipe with the same encoders "
            "and the same tokenizer, or leave --start-from out.",
            code="start_invalid",
        )
    model.load_state_dict(common, strict=False)
    for names, what in ((own.keys() - found.keys(), "begin anew"), (found.keys() - own.keys(), "are not used")):
        if names:
            some = ", ".join(sorted(names)[:_NAMES_IN_MESSAGE])
            _log.warning("start from %s: %d weights %s (%s, …)", start, len(names), what, some)
