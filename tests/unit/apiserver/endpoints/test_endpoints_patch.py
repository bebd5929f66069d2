"""Patches, with the habits of upstream's libraries."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.errors import ApiError
from pilothouse.api.structure import Field, Type
from pilothouse.apiserver.endpoints.patch import json_patch, merge_patch, strategic_merge, unstructured

STRING = Type("string", "string")
ITEM = Type("struct", "v1.Item", fields={"name": Field(STRING), "value": Field(STRING)})
SPEC = Type(
    "struct",
    "v1.Spec",
    fields={
        "items": Field(Type("list", element=ITEM), patch_strategy=("merge",), patch_merge_key="name"),
        "words": Field(Type("list", element=STRING), patch_strategy=("merge",)),
        "plain": Field(Type("list", element=STRING)),
        "map": Field(Type("map", element=STRING)),
        "union": Field(ITEM, patch_strategy=("retainKeys",)),
    },
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("ab", max_size=2), JSON, max_size=3)


def refused(code: int, function: Any, *args: Any) -> str:
    with pytest.raises(ApiError) as caught:
        function(*args)
    assert caught.value.code == code
    return caught.value.message


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ({"op": "add", "path": "/l/1", "value": "n"}, {"l": ["a", "n", "b"], "m": {"k": 1}}),
        ({"op": "add", "path": "/l/-", "value": "n"}, {"l": ["a", "b", "n"], "m": {"k": 1}}),
        ({"op": "replace", "path": "/l/01", "value": "n"}, {"l": ["a", "n"], "m": {"k": 1}}),
        ({"op": "remove", "path": "/l/-1"}, {"l": ["a"], "m": {"k": 1}}),
        ({"op": "replace", "path": "/m/new", "value": 2}, {"l": ["a", "b"], "m": {"k": 1, "new": 2}}),
        ({"op": "copy", "from": "/m/none", "path": "/m/c"}, {"l": ["a", "b"], "m": {"k": 1, "c": None}}),
        ({"op": "move", "from": "/m/k", "path": "/m/j"}, {"l": ["a", "b"], "m": {"j": 1}}),
        ({"op": "add", "path": "lost/x", "value": 1}, {"l": ["a", "b"], "m": {"k": 1}, "x": 1}),
        ({"op": "test", "path": "/m/none", "value": None}, {"l": ["a", "b"], "m": {"k": 1}}),
        ({"op": "replace", "path": "", "value": {"z": 1}}, {"z": 1}),
        ({"op": "add", "path": "/a~1b~0c", "value": 1}, {"l": ["a", "b"], "m": {"k": 1}, "a/b~c": 1}),
    ],
)
def test_json_patch(operation: Any, result: Any) -> None:
    document = {"l": ["a", "b"], "m": {"k": 1}}
    before = copy.deepcopy(document)
    assert json_patch.apply(document, [operation]) == result
    assert document == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/m/none"},
        {"op": "move", "from": "/m/none", "path": "/m/x"},
        {"op": "add", "path": "/none/x", "value": 1},
        {"op": "add", "path": "/l/3", "value": 1},
        {"op": "add", "path": "", "value": {}},
        {"op": "test", "path": "/m/k", "value": True},
        {"op": "frob", "path": "/m/k"},
        {"path": "/m/k"},
    ],
)
def test_json_patch_refuses_without_a_reason(operation: Any) -> None:
    document = {"l": ["a", "b"], "m": {"k": 1}}
    text = refused(422, json_patch.apply, document, [operation])
    assert text == "the server rejected our request due to an error in our request"


def test_json_patch_reads_bodies() -> None:
    assert refused(400, json_patch.read, b"{}") == (
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    )
    assert refused(400, json_patch.read, b'[{"op":1}]').endswith(
        "cannot unmarshal number into Go struct field jsonPatchOp.op of type string"
    )
    many = b"[" + b",".join([b"{}"] * 10_001) + b"]"
    assert refused(413, json_patch.read, many) == (
        "The allowed maximum operations in a JSON patch is 10000, got 10001"
    )
    assert json_patch.read(b'[{"op":"test","path":"/a","extra":1}]')[1] == [
        'json patch unknown field "[0].extra"'
    ]


@given(OBJECTS, OBJECTS)
def test_merge_patch_laws(document: Any, patch: Any) -> None:
    before = copy.deepcopy((document, patch))
    once = merge_patch.apply(document, patch)
    assert merge_patch.apply(once, patch) == once
    assert merge_patch.apply(document, {}) == document
    assert all(key not in once for key, value in patch.items() if value is None)
    assert (document, patch) == before


def test_strategic_lists_put_what_is_new_first() -> None:
    live = {"items": [{"name": "a", "value": "1"}, {"name": "b"}], "words": ["x", "y"]}
    patch = {"items": [{"name": "n"}, {"name": "b", "value": "2"}], "words": ["z", "x"]}
    assert strategic_merge.apply(live, patch, SPEC) == {
        "items": [{"name": "n"}, {"name": "a", "value": "1"}, {"name": "b", "value": "2"}],
        "words": ["z", "x", "y"],
    }


A, B, Z = {"name": "a"}, {"name": "b"}, {"name": "z"}


@pytest.mark.parametrize(
    ("live", "patch", "result"),
    [
        ({"items": [A, B]}, {"items": [{"name": "a", "$patch": "delete"}]}, {"items": [B]}),
        ({"items": [A]}, {"items": [{"$patch": "replace"}, Z]}, {"items": [Z]}),
        ({"items": [A, B]}, {"$setElementOrder/items": [B, A], "items": []}, {"items": [B, A]}),
        ({"words": ["x", "y"]}, {"$deleteFromPrimitiveList/words": ["x"]}, {"words": ["y"]}),
        ({"plain": ["x"]}, {"plain": ["y"]}, {"plain": ["y"]}),
        ({"map": {"a": "1"}}, {"map": {"$patch": "replace", "b": "2"}}, {"map": {"b": "2"}}),
        ({"map": {"a": "1"}}, {"map": {"$patch": "delete"}}, {"map": {}}),
        ({"union": {"name": "n", "value": "v"}}, {"union": {"$retainKeys": ["name"], **A}}, {"union": A}),
        ({}, {"map": {"a": None, "b": "1"}}, {"map": {"b": "1"}}),
        ({}, {"items": [{"name": "a", "$patch": "delete"}]}, {"items": []}),
    ],
)
def test_strategic_directives(live: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy((live, patch))
    assert strategic_merge.apply(live, patch, SPEC) == result
    assert (live, patch) == before


def test_strategic_errors() -> None:
    live = {"items": [{"name": "a"}]}
    assert refused(500, strategic_merge.apply, live, {"items": [{"value": "z"}]}, SPEC) == (
        "map: map[value:z] does not contain declared merge key: name"
    )
    assert refused(500, strategic_merge.apply, live, {"$patch": "explode"}, SPEC) == (
        "unknown patch type: explode in map: map[$patch:explode]"
    )
    order = {"$setElementOrder/items": [{"name": "a"}], "items": [{"name": "w"}]}
    assert refused(500, strategic_merge.apply, live, order, SPEC) == (
        "The order in patch list:\n[map[name:w]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n"
    )
    bad = {"union": {"$retainKeys": ["name"], "value": "v"}}
    assert (
        refused(400, strategic_merge.apply, {"union": {}}, bad, SPEC) == "invalid patch format of retainKeys"
    )


def test_misfits_read_like_the_unstructured_converter() -> None:
    assert unstructured.misfit({"union": "x"}, SPEC) == "cannot restore struct from: string"
    assert unstructured.misfit({"map": ["x"]}, SPEC) == "cannot restore map from slice"
    assert unstructured.misfit({"items": {}}, SPEC) == "cannot restore slice from map"
    assert unstructured.misfit({"map": {"a": 1}}, SPEC) == "cannot convert int64 to string"
    assert unstructured.misfit({"map": {"a": "1"}, "other": 1}, SPEC) == ""
