"""Quantities (k8s.io/apimachinery/pkg/api/resource, its tests' cases among them)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api import quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"), ("-0", "0"), ("0Ki", "0"), ("1", "1"), ("1000", "1k"), ("1024", "1024"), ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"), ("512Ki", "512Ki"), ("1.5", "1500m"), ("1.5Gi", "1536Mi"), (".5", "500m"),
        ("5.", "5"), ("+5", "5"), ("-5", "-5"), ("1000m", "1"), ("100u", "100u"), ("1e3", "1e3"),
        ("1E3", "1e3"), ("1E", "1E"), ("1000000n", "1m"), ("0.0000000001", "1n"), ("1000Ei", "9223372036854775807"),
        ("0.5Ki", "512"), ("1.1Mi", "1153433600m"), ("12e6", "12e6"), ("3000000000000000", "3P"),
    ],
)  # fmt: skip
def test_canonical_text(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", "a", "1x", "--1", "1.2.3", ".", "1 Gi", "Ki"])
def test_texts_that_are_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantity.parse(text)


@pytest.mark.parametrize("text", ["1Kii", "1mm", "1eE", "1ki"])
def test_suffixes_that_do_not_exist(text: str) -> None:
    with pytest.raises(ValueError, match="unable to parse quantity's suffix"):
        quantity.parse(text)


def test_values_are_rounded_up() -> None:
    assert quantity.parse("1500m").value == 2
    assert quantity.parse("100u").milli == 1


def test_a_sum_keeps_the_family_of_the_first() -> None:
    total = quantity.add(quantity.parse("1Gi"), quantity.parse("1000"))
    assert str(total) == "1073742824"
    assert str(quantity.add(quantity.ZERO, quantity.parse("1Gi"))) == "1Gi"


@given(st.integers(-(10**18), 10**18), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "u", "n"]))
def test_the_canonical_text_has_the_same_value(number: int, suffix: str) -> None:
    parsed = quantity.parse(f"{number}{suffix}")
    again = quantity.parse(str(parsed))
    assert again.nano == parsed.nano
    assert str(again) == str(parsed)
