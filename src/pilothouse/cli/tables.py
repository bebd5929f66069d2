"""Tables on a terminal; in a pipe without colours, and as wide as they must be."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from rich.console import Console
from rich.table import Table

_WIDTH_IN_A_PIPE = 10_000


@lru_cache(maxsize=1)
def console() -> Console:
    made = Console(highlight=False, emoji=False)
    return made if made.is_terminal else Console(highlight=False, emoji=False, width=_WIDTH_IN_A_PIPE)


def plain(*titles: str, right: Collection[str] = ()) -> Table:
    """As kubectl's: titles in capitals, no lines; some columns to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    return table
