"""Errors of training."""

from runtime.errors import VernierError


class TrainingError(VernierError):
    """A run that cannot go on: `loss_not_finite`, `workdir_used`, or a checkpoint that cannot be gone on from.

    The latter are `checkpoint_missing`, `checkpoint_mismatch` and `checkpoint_damaged`.
    """

    code = "training_failed"
