"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Give a hook `(done, total)` that shows how far the work is, on stderr.

    A total of 0 means that it is not known. The hook may be called as often as one likes.
    """
    if sys.stderr.isatty():
        with _bar(title) as hook:
            yield hook
    else:
        yield _lines(title)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _lines(title: str) -> Callable[[int, int], None]:
    last_line = monotonic() - _SECONDS_BETWEEN_LINES

    def hook(done: int, total: int) -> None:
        nonlocal last_line
        now = monotonic()
        if done != total and now - last_line < _SECONDS_BETWEEN_LINES:
            return
        last_line = now
        sys.stderr.write(f"{title}: {done}/{total}\n" if total else f"{title}: {done}\n")
        sys.stderr.flush()

    return hook
