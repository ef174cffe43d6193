"""How a run shows itself: a live line on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from training.trainer import StepReport


@contextmanager
def shown_on(console: Console, *, first_step: int) -> Iterator[Callable[[StepReport], None]]:
    """Give the function that shows reports for the length of a run."""
    if not console.is_terminal:
        yield lambda report: console.print(_line(report), soft_wrap=True, highlight=False)
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("training", total=None, completed=first_step, said="starting")

        def show(report: StepReport) -> None:
            progress.update(task, completed=report.step, total=report.num_steps, said=_short(report))
            if report.validation is not None:
                progress.console.print(_line(report), highlight=False)

        yield show


def _line(report: StepReport) -> str:
    return f"step {report.step}/{report.num_steps}  {_numbers(report)}"


def _short(report: StepReport) -> str:
    """What fits beside a bar."""
    return "  ".join([*_losses(report), *_speed(report)])


def _numbers(report: StepReport) -> str:
    said = _losses(report)
    said += [f"{name} {value:.3f}" for name, value in report.report.items()]
    said += [f"rate {report.learning_rate:.1e}", f"norm {report.gradient_norm:.2f}", *_speed(report)]
    if report.validation is not None:
        said += [f"held-out {name} {value:.3f}" for name, value in report.validation.items()]
    return "  ".join(said)


def _losses(report: StepReport) -> list[str]:
    return [f"loss {report.loss:.3f}", *(f"{name} {value:.3f}" for name, value in report.parts.items())]


def _speed(report: StepReport) -> list[str]:
    said = [
        f"{report.images_per_s:.0f} images/s",
        f"{report.waiting_share:.0%} waiting",
        f"{_duration(report.left_s)} left",
    ]
    if report.num_broken:
        said.append(f"{report.num_broken} broken pictures skipped")
    return said


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
