"""Progress of work before the first step: a bar on a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def counted_on(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function `(done, total)` that shows how far the work is; nothing is shown before its first call."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    last_line = -_SECONDS_BETWEEN_LINES
    bar = Progress(*columns, console=console) if console.is_terminal else None
    task = bar.add_task(title, total=None) if bar else None

    def show(done: int, total: int) -> None:
        nonlocal last_line
        if bar is not None and task is not None:
            bar.start()
            bar.update(task, completed=done, total=total)
        elif done == total or time.monotonic() - last_line >= _SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            console.print(f"{title}: {done}/{total}", highlight=False)

    try:
        yield show
    finally:
        if bar is not None:
            bar.stop()
