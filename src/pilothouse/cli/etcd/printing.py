"""How these commands print: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from pilothouse.cli.flags import Flag, Group, UsageError, Values, verbosity
from pilothouse.cli.kinds import STRING

OUTPUT = Group(
    "Output",
    (
        Flag("output", STRING, "table", "What to print: table or json.", short="o", label="table|json"),
        verbosity(),
    ),
)
_UNITS = ("B", "kB", "MB", "GB", "TB")
_FORMATS = ("table", "json")
_PIPE_WIDTH = 400
"""Lines of a pipe are not broken."""


def is_json(values: Values) -> bool:
    if values["output"] not in _FORMATS:
        raise UsageError(f"--output: {values['output']!r}: choose one of {', '.join(_FORMATS)}")
    return bool(values["output"] == "json")


def show_json(document: Any) -> None:
    print(json.dumps(document, indent=2))


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Colours and frames only where a person looks."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else _PIPE_WIDTH, highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=not is_terminal, overflow="fold")
    for row in rows:
        table.add_row(*(_styled(Text, cell) for cell in row))
    console.print(table)


def _styled(text: Any, cell: str) -> Any:
    """Cells are words, never markup."""
    style = {"healthy": "green", "up": "green", "unhealthy": "red", "down": "red"}.get(cell, "")
    return text(cell, style=style)


def progress(line: str) -> None:
    """What happens meanwhile: beside the result, not in it."""
    print(line, file=sys.stderr, flush=True)


def size(number: int) -> str:
    """Bytes for people, as etcdctl's tables have them (humanize.Bytes: powers of 1000)."""
    amount, unit = float(number), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if unit == 0 or amount >= 10 else f"{amount:.1f} {_UNITS[unit]}"
