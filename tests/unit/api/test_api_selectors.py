"""Label and field selectors, and upstream's texts for wrong ones (apimachinery pkg/labels, pkg/fields)."""

from __future__ import annotations

import pytest

from pilothouse.api import fields, labels

LABELS = {"app": "web", "tier": "", "n": "5"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True), ("app", True), ("!app", False), ("app=web", True), ("app==web", True), ("app!=web", False),
        ("absent!=x", True), ("absent notin (x)", True), ("absent in (x)", False), ("app in (a,web)", True),
        ("tier=", True), ("tier in ()", True), ("app in (web,)", True), ("tier in (x,)", True), ("n>4", True),
        ("n<5", False), ("app>1", False), ("app=web,!absent,n>1", True), ("app=web,absent", False),
    ],
)  # fmt: skip
def test_label_selectors(text: str, matches: bool) -> None:
    assert labels.parse(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("n===1", "unable to parse requirement: found '=', expected: identifier"),
        ("n in (1", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("n in 1", "unable to parse requirement: found '1' expected: '('"),
        ("n in ((", "unable to parse requirement: found '(', expected: ',', ')' or identifier"),
        (",n", "found ',', expected: !, identifier, or 'end of string'"),
        ("n,", "found '', expected: identifier after ','"),
        ("!n=1", "found '=', expected: ',' or 'end of string'"),
        ("n near 1", "unable to parse requirement: found 'near', expected: in, notin, =, ==, !=, gt, lt"),
        (
            "n>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the "
            "value must be an integer",
        ),
    ],
)
def test_wrong_label_selectors(text: str, error: str) -> None:
    with pytest.raises(ValueError) as caught:
        labels.parse(text)
    assert str(caught.value) == error


def test_a_selector_is_written_with_sorted_keys_and_values() -> None:
    assert str(labels.parse("z in (b,a),!y,x==1,w>3,v")) == "v,w>3,x==1,!y,z in (a,b)"


def test_label_selector_objects() -> None:
    selector = labels.from_label_selector(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "n", "operator": "NotIn", "values": ["6"]}],
        }
    )
    assert selector.matches(LABELS)
    assert labels.from_label_selector(None).matches({}) is False
    assert labels.from_label_selector({}).matches({}) is True
    with pytest.raises(ValueError, match='"Near" is not a valid label selector operator'):
        labels.from_label_selector({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_field_selectors() -> None:
    selector = fields.parse("status.phase!=Running,metadata.name=a\\,b,spec.nodeName==")
    assert selector.matches({"status.phase": "Pending", "metadata.name": "a,b"})
    assert not selector.matches({"status.phase": "Running", "metadata.name": "a,b"})
    assert selector.field_names() == ["status.phase", "metadata.name", "spec.nodeName"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=\\q", "invalid field selector: invalid escape sequence: \\q"),
    ],
)
def test_wrong_field_selectors(text: str, error: str) -> None:
    with pytest.raises(ValueError) as caught:
        fields.parse(text)
    assert str(caught.value) == error


def test_the_name_that_a_selector_pins() -> None:
    assert fields.required_name("metadata.name=a,x=y") == "a"
    assert fields.required_name("metadata.name!=a") == ""
    assert fields.required_name("nonsense") == ""
