"""Tables on a terminal; in a pipe without colours, and as wide as they must be. What they show is no markup."""

from __future__ import annotations

import sys
from collections.abc import Collection

from rich.console import Console
from rich.table import Table

_WIDTH_IN_A_PIPE = 10_000


def console() -> Console:
    width = None if sys.stdout.isatty() else _WIDTH_IN_A_PIPE
    return Console(highlight=False, emoji=False, markup=False, width=width)


def show(table: Table) -> None:
    """Without blanks at the ends of lines."""
    out = console()
    with out.capture() as shown:
        out.print(table)
    for line in shown.get().splitlines():
        print(line.rstrip())


def plain(*titles: str, right: Collection[str] = ()) -> Table:
    """As kubectl's: titles in capitals, no lines; some columns to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    return table
