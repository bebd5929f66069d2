"""Columns of custom resources (apiextensions-apiserver's pkg/registry/customresource/tableconvertor)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.apiserver.customresources.table import table


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        ("string", "x", "x"),
        ("string", 1, "1"),
        ("string", True, "true"),
        ("string", 1.5, "1.5"),
        ("string", {"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
        ("string", None, "null"),
        ("integer", 3, 3),
        ("integer", 3.9, 3),
        ("integer", "3", None),
        ("number", 1.5, 1.5),
        ("boolean", False, False),
        ("boolean", "false", None),
        ("date", "1970-01-01T00:00:00Z", "60s"),
        ("date", "yesterday", "<invalid>"),
        ("date", 5, None),
    ],
)
def test_what_a_cell_shows(kind: str, value: Any, cell: Any) -> None:
    layout = table([{"name": "C", "type": kind, "jsonPath": ".v"}])
    assert layout.row({"metadata": {"name": "x"}, "v": value}, 60.0) == ["x", cell]


def test_nothing_at_the_path_and_no_columns() -> None:
    row = table([{"name": "C", "type": "string", "jsonPath": ".a.b"}]).row({"metadata": {"name": "x"}}, 0)
    assert row == ["x", None]
    plain = table([])
    assert [c.name for c in plain.columns] == ["Name", "Age"]
    obj = {"metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"}}
    assert plain.row(obj, 30.0) == ["x", "30s"]


def test_a_column_says_where_its_value_lies() -> None:
    column = table([{"name": "C", "type": "string", "jsonPath": ".a"}]).columns[1]
    assert column.describe == "Custom resource definition column (in JSONPath format): .a"
