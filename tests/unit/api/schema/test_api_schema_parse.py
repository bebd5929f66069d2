"""Bodies to values, and what is wrong with them in upstream's words (encoding/json, sigs.k8s.io/yaml)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.schema import parse

JSON = "application/json"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a":', "unexpected end of JSON input"),
        (b'{"a":1} garbage', "invalid character 'g' after top-level value"),
        (b"{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
        (b"{{{", "invalid character '{' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b'{"a":[1 2]}', "invalid character '2' after array element"),
        (b'{"a":trye}', "invalid character 'y' in literal true (expecting 'u')"),
        (b'{"a":"\\q"}', "invalid character 'q' in string escape code"),
    ],
)
def test_broken_json(raw: bytes, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse.body(raw, JSON)
    assert str(caught.value) == f"couldn't get version/kind; json parse error: {text}"


def test_repeated_keys_are_named_and_objects_under_them_merge() -> None:
    raw = b'{"data":{"a":"1"},"data":{"b":"2"},"metadata":{"name":"x","name":"y"}}'
    value, found = parse.body(raw, JSON, duplicates=True)
    assert found == ['duplicate field "data"', 'duplicate field "metadata.name"']
    assert value == {"data": {"a": "1", "b": "2"}, "metadata": {"name": "y"}}
    assert parse.body(raw, JSON, typed=False)[0]["data"] == {"b": "2"}


@pytest.mark.parametrize(
    "raw",
    [b'{"a":1,"a" :2}', b'{"a":1,"a"\n:2}', b'{"a":":\\u003a","a":1}', b'{"x":"\\u003A","a":1,"a":2}'],
)
def test_odd_writing_hides_no_repeat(raw: bytes) -> None:
    assert parse.body(raw, JSON, duplicates=True)[1] == ['duplicate field "a"']


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), _VALUES, max_size=4), st.booleans())
def test_the_quick_look_agrees_with_the_careful_one_when_nothing_repeats(
    value: dict[str, Any], ascii_only: bool
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert parse.body(raw, JSON, duplicates=True) == (value, [])


@given(_VALUES, _VALUES)
def test_the_quick_look_sees_every_repeat(first: Any, second: Any) -> None:
    raw = b'{"k":' + json.dumps(first).encode() + b',"k":' + json.dumps(second).encode() + b"}"
    assert 'duplicate field "k"' in parse.body(raw, JSON, duplicates=True)[1]


def test_yaml_reads_as_json_would() -> None:
    value, found = parse.body(b"a: yes\nb: 2020-01-01\n1: x\nc:\n- true\n", parse.YAML)
    assert value["b"] == "2020-01-01"
    assert value["1"] == "x"
    assert value["c"] == [True]
    assert found == []


def test_yaml_repeats_are_named() -> None:
    _, found = parse.body(b"a: 1\na: 2\n", parse.YAML, duplicates=True)
    assert len(found) == 1
    assert 'key "a" already set in map' in found[0]


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"5"])
def test_a_body_that_is_no_object(raw: bytes) -> None:
    with pytest.raises(ValueError, match="into Go value of type struct"):
        parse.body(raw, JSON)


def test_json_in_a_yaml_body_is_read_as_json_unless_it_needs_the_other_s_words() -> None:
    raw = b' {"a": {"b": [1, 2.5, true, null, "x:y"]}}'
    assert parse.body(raw, parse.YAML) == ({"a": {"b": [1, 2.5, True, None, "x:y"]}}, [])
    value, found = parse.body(b'{"a": 1,\n "a": 2}', parse.YAML, duplicates=True)
    assert value == {"a": 2}
    assert 'line 2: key "a" already set in map' in found[0]
    assert parse.body(b"{a: 1}", parse.YAML) == ({"a": 1}, [])
    with pytest.raises(ValueError, match="did not find expected node content"):
        parse.body(b'{"a": [}', parse.YAML)


def test_aliases_are_copies_and_few_are_no_bomb() -> None:
    value, _ = parse.body(b"a: &a {x: [1]}\nb: *a\nc: {<<: *a, y: 2}\n", parse.YAML)
    assert value == {"a": {"x": [1]}, "b": {"x": [1]}, "c": {"x": [1], "y": 2}}
    assert value["a"]["x"] is not value["b"]["x"]


@pytest.mark.parametrize(
    ("raw", "media_type", "text"),
    [
        (b"a: [" + b"1," * 300_000 + b"1]", parse.YAML, "document has too many nodes"),
        (b"[" + b"1," * 1_000_000 + b"x", JSON, "unexpected end of JSON input"),
        (b'"' + b"\\n" * 1_000_000, JSON, "unexpected end of JSON input"),
        (b"[" * 201 + b"]" * 201, JSON, "exceeded max depth"),
        (b'{"a":' * 100_000, JSON, "exceeded max depth"),
        (b"- " * 250, parse.YAML, "exceeded max depth"),
    ],
)
def test_what_would_take_too_long_is_refused_soon(raw: bytes, media_type: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse.body(raw, media_type)


def test_numbers_and_text_that_go_reads() -> None:
    assert parse.body(b'{"a":1e999,"b":%d}' % 10**40, JSON)[0]["b"] == 10**40
    assert parse.body(b'{"a":"\xff\\ud800"}', JSON)[0] == {"a": "\ufffd\ufffd"}
