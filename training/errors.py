"""Errors of training."""

from runtime.errors import VernierError


class TrainingError(VernierError):
    """A run that cannot go on: `loss_not_finite`, `checkpoint_missing`, `checkpoint_mismatch`, `workdir_used`."""

    code = "training_failed"
