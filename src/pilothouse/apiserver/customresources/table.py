"""Tables of custom resources: additionalPrinterColumns, or the age alone
(pkg/registry/customresource/tableconvertor)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pilothouse.api import formats
from pilothouse.api.jsonpath import JsonPath
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.patch.go_text import go_value
from pilothouse.apiserver.registry.tables.cells import since
from pilothouse.apiserver.registry.tables.column import NAME, Column, Table

Cell = Callable[[Any, float], Any]
"""From the value at a column's path and the time to what the cell shows."""

_is_time = formats.named("date-time")
_AGE: Obj = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def table(columns: Sequence[Obj]) -> Table:
    """The layout for a version's additionalPrinterColumns."""
    shown = columns or (_AGE,)
    readers = [(JsonPath(c["jsonPath"]), _CELLS.get(c["type"], _nothing)) for c in shown]

    def row(obj: Obj, now_s: float) -> list[Any]:
        cells: list[Any] = [obj["metadata"].get("name", "")]
        for path, cell in readers:
            found = path.find(obj)
            cells.append(cell(found[0], now_s) if found else None)
        return cells

    return Table((NAME, *(_column(c, default=not columns) for c in shown)), row)


def _column(column: Obj, *, default: bool) -> Column:
    path = column["jsonPath"]
    described = column.get("description") or (
        "@metadata.creationTimestamp"
        if default
        else f"Custom resource definition column (in JSONPath format): {path}"
    )
    return Column(
        column["name"], column["type"], column.get("format", ""), described, column.get("priority", 0)
    )


def _nothing(value: Any, now_s: float) -> Any:
    return None


def _string(value: Any, now_s: float) -> Any:
    """Whatever it is, as text: maps and lists as JSON."""
    if isinstance(value, (dict, list)):
        return msgspec.json.encode(value, order="sorted").decode()
    return "null" if value is None else go_value(value)


def _integer(value: Any, now_s: float) -> Any:
    return int(value) if type(value) in (int, float) else None


def _number(value: Any, now_s: float) -> Any:
    return value if type(value) in (int, float) else None


def _boolean(value: Any, now_s: float) -> Any:
    return value if type(value) is bool else None


def _date(value: Any, now_s: float) -> Any:
    """How long ago."""
    if type(value) is not str:
        return None
    return since(value, now_s) if _is_time(value) else "<invalid>"


_CELLS: dict[str, Cell] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
}
