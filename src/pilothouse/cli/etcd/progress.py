"""A bar for what takes long: on a terminal alone, and on stderr, so that it is never part of a result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Told how much is done."""


@contextmanager
def bar(title: str, total: int, *, of_bytes: bool = True) -> Iterator[Advance]:
    """`total` may be a guess: the bar ends with the block."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich import progress
    from rich.console import Console

    amount = progress.DownloadColumn() if of_bytes else progress.MofNCompleteColumn()
    rate = [progress.TransferSpeedColumn()] if of_bytes else []
    columns = ("{task.description}", progress.BarColumn(), amount, *rate, progress.TimeRemainingColumn())
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(title, total=total or None)

        def advance(done: int) -> None:
            known = shown.tasks[0].total
            shown.update(task, completed=done, total=max(done, known) if known is not None else None)

        yield advance
