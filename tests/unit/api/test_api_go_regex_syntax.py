"""What Go says of bad patterns (regexp/syntax: parse.go, and the lists of its parse_test.go)."""

from __future__ import annotations

import pytest

from pilothouse.api.go_regex_syntax import regexp_error


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "",
        "a|b|",
        "(|a)*",
        "(?i)a(?:b)(?P<n>c)(?<m>d)",
        "x*?y+?z??",
        "a{2}b{2,}c{2,3}d{2,3}?",
        "a{,2}",
        "a{x",
        "{",
        "a]",
        "[]a]",
        "[^]a]",
        "[a-]",
        "[-a]",
        "[[:alpha:][:^digit:]_]",
        "[[:x]",
        r"\d\D\s\S\w\W\b\B\A\z",
        r"\pL\p{Greek}\P{^Lu}[\pN]",
        r"\x41\x{10FFFF}\012\0\a\.\-",
        r"\Qa.b\E*",
        r"\Q",
        "(a{1000})",
        "^*",
    ],
)
def test_go_takes_these(pattern: str) -> None:
    assert regexp_error(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "missing closing ): `(`"),
        ("(a(b)", "missing closing ): `(a(b)`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("x[", "missing closing ]: `[`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a|*?", "missing argument to repetition operator: `*?`"),
        ("(+)", "missing argument to repetition operator: `+`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("x**?", "invalid nested repetition operator: `**?`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,1}", "invalid repeat count: `{3,1}`"),
        ("(a{500}){3}", "invalid repeat count: `{3}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?<=a)", "invalid named capture: `(?<=a)`"),
        ("(?P<n m>a)", "invalid named capture: `(?P<n m>`"),
        ("(?P<>a)", "invalid named capture: `(?P<>`"),
        (r"\q", r"invalid escape sequence: `\q`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"a\1", r"invalid escape sequence: `\1`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\xg1", r"invalid escape sequence: `\xg1`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000}`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        ("\\", "trailing backslash at end of expression: ``"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\pX", r"invalid character class range: `\pX`"),
        (r"\p{Nope}", r"invalid character class range: `\p{Nope}`"),
        (r"\p{Gre", r"invalid character class range: `\p{Gre`"),
    ],
)
def test_go_refuses_these(pattern: str, why: str) -> None:
    assert regexp_error(pattern) == f"error parsing regexp: {why}"
