"""Go's regular expressions (https://github.com/google/re2/wiki/Syntax)."""

from __future__ import annotations

import re

import pytest

from pilothouse.api.go_regex import compile_go


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("^a$", "a", "a\n"),
        (r"^\d+$", "12", "٣"),
        ("^[[:alpha:]_]+$", "ab_", "a1"),
        (r"^\p{Lu}\p{Ll}+$", "Äb", "äb"),
        (r"^[^\pL]$", "1", "x"),
        (r"^\Qa.b\E\z", "a.b", "axb"),
        ("(?i)^abc$", "ABC", "abd"),
        ("^[]a]$", "]", "b"),
        ("^(?P<x>a|b)$", "b", "c"),
    ],
)
def test_what_differs_from_pythons(pattern: str, yes: str, no: str) -> None:
    assert compile_go(pattern).search(yes)
    assert not compile_go(pattern).search(no)


def test_what_is_none() -> None:
    with pytest.raises(re.error):
        compile_go("(")
