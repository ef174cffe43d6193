"""TensorBoard event files: every number that a run reports, by step.

tensorboard --logdir WORKDIR
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from training.trainer import StepReport

_log = logging.getLogger(__name__)


@contextmanager
def written_to(workdir: Path, *, first_step: int) -> Iterator[Callable[[StepReport], None]]:
    """Give the function that writes reports into `workdir/events`, for the length of a run.

    What an interrupted run wrote after `first_step` is superseded. Without the package `tensorboard` nothing is
    written, and a warning says so.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _log.warning("tensorboard is not installed, so no event files are written; pip install 'vernier[training]'")
        yield lambda report: None
        return
    writer = SummaryWriter(str(workdir / "events"), purge_step=first_step + 1)

    def write(report: StepReport) -> None:
        for name, value in _scalars(report).items():
            writer.add_scalar(name, value, report.step)
        writer.flush()  # a run that is killed leaves everything it has reported

    try:
        yield write
    finally:
        writer.close()


def _scalars(report: StepReport) -> dict[str, float]:
    scalars = {
        "loss": report.loss,
        "learning_rate": report.learning_rate,
        "gradient_norm": report.gradient_norm,
        "images_per_s": report.images_per_s,
        "waiting_share": report.waiting_share,
        "broken_pictures": report.num_broken,
    }
    scalars |= {f"objective/{name}": value for name, value in report.parts.items()}
    scalars |= {f"report/{name}": value for name, value in report.report.items()}
    return scalars | {f"held_out/{name}": value for name, value in (report.validation or {}).items()}
