"""A Binding that is plain need not be decoded: that would leave it as it is. All others are decoded."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from pilothouse.api.catalog import Catalog
from pilothouse.api.types import Obj
from pilothouse.apiserver.builtin import Builtins
from pilothouse.apiserver.endpoints.subresources.binding import is_plain

PLAIN: Obj = {
    "apiVersion": "v1",
    "kind": "Binding",
    "metadata": {"name": "web", "namespace": "default", "uid": "1-2"},
    "target": {"kind": "Node", "name": "node-1"},
}


def test_decoding_leaves_a_plain_binding_as_it_is() -> None:
    decoded = Builtins(Catalog()).decode("", "v1", "Binding", copy.deepcopy(PLAIN))
    assert is_plain(PLAIN)
    assert not decoded.strict_errors
    shown = {key: dict(value) if isinstance(value, dict) else value for key, value in decoded.obj.items()}
    shown["metadata"].pop("creationTimestamp", None)
    assert shown == PLAIN


def _set(*path: str, value: object) -> Callable[[Obj], None]:
    def change(obj: Obj) -> None:
        for key in path[:-1]:
            obj = obj[key]
        obj[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("kind", value="Pod"),
        _set("apiVersion", value="v2"),
        _set("spec", value={}),
        _set("metadata", value=None),
        _set("metadata", "labels", value={"a": "b"}),
        _set("metadata", "uid", value=""),
        _set("metadata", "uid", value=5),
        _set("target", "name", value=None),
        _set("target", "fieldPath", value="x"),
        lambda obj: obj.pop("target"),
        lambda obj: obj["target"].pop("kind"),
    ],
)
def test_anything_else_is_decoded(change: Callable[[Obj], object]) -> None:
    body = copy.deepcopy(PLAIN)
    change(body)
    assert not is_plain(body)
