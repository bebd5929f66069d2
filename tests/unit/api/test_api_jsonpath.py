"""kubectl's JSONPath (https://kubernetes.io/docs/reference/kubectl/jsonpath/)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.jsonpath import JsonPath

_OBJ = {
    "spec": {"replicas": 3, "items": [{"name": "a", "v": 1}, {"name": "b", "v": 2}]},
    "metadata": {"labels": {"x.y/z": "w"}},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.replicas", [3]),
        (".spec.items[*].name", ["a", "b"]),
        (".spec.items[1].name", ["b"]),
        (".spec.items[-1].name", ["b"]),
        (".spec.items[0:1].name", ["a"]),
        (".spec.items[0,1].v", [1, 2]),
        (".metadata.labels['x.y/z']", ["w"]),
        (r".metadata.labels.x\.y/z", ["w"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Gone')].status", []),
        (".spec.items[?(@.v>1)].name", ["b"]),
        ("..name", ["a", "b"]),
        ("{.spec.replicas}", [3]),
        (".spec.absent.further", []),
    ],
)
def test_where_a_path_leads(path: str, found: list[Any]) -> None:
    assert JsonPath(path).find(_OBJ) == found
