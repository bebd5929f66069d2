"""Go's regular expressions (RE2 syntax) with Python's engine.

What differs between the two and appears in practice: `$` and `\\z` mean the very end, character classes such as
\\d and \\w are ASCII, POSIX classes, Unicode categories (\\p{Lu}) and \\Q…\\E exist.
"""

from __future__ import annotations

import re
import sys
import unicodedata

from pilothouse.kit.caching import cached_texts

_TOKEN = re.compile(
    r"\\Q.*?(?:\\E|$)|\\z|\\[pP](?:[A-Z]|\{\^?\w+\})|\\.|\[:\^?[a-z]+:\]|\[\]|\[\^\]|[\[\]$]|\(\?[a-zA-Z]+\)|.",
    re.DOTALL,
)
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}


@cached_texts(1024)
def compile_go(pattern: str) -> re.Pattern[str]:
    """Raises re.error for a pattern that is none, or that names a script (\\p{Greek}), which are not known here."""
    return re.compile(_python(pattern), re.ASCII)


def _python(pattern: str) -> str:
    out: list[str] = []
    flags = ""
    in_class = False
    multiline = "(?m" in pattern
    for token in _TOKEN.findall(pattern):
        if in_class:
            if token == "]":
                in_class = False
            if token == "[":
                token = r"\["
            if token[:2] in (r"\p", r"\P"):
                token = _category(token)
            out.append(_POSIX.get(token[2:-2], token) if token.startswith("[:") else token)
        elif token.startswith("\\Q"):
            out.append(re.escape(token[2:].removesuffix("\\E")))
        elif token[:2] in (r"\p", r"\P"):
            out.append(f"[{_category(token)}]")
        elif token == r"\z":
            out.append(r"\Z")
        elif token == "$":
            out.append("$" if multiline else r"\Z")
        elif token.startswith("(?") and token.endswith(")") and out:
            # Python knows flags at the very beginning alone; Go has them count from here on.
            flags += token[2:-1]
        else:
            in_class = token in ("[", "[]", "[^]")
            out.append({"[]": r"[\]", "[^]": r"[^\]"}.get(token, token))
    prefix = f"(?{''.join(sorted(set(flags)))})" if flags else ""
    return prefix + "".join(out)


_CATEGORIES = frozenset(unicodedata.category(chr(code)) for code in range(0x3000)) | {"Cs", "Co"}


@cached_texts(32)
def _category(token: str) -> str:
    """The inside of a character class for \\p{L}, \\pN, \\P{Lu}, \\p{^Lu}."""
    name = token[2:].strip("{}")
    negated = (token[1] == "P") != name.startswith("^")
    name = name.removeprefix("^")
    if not any(known.startswith(name) for known in _CATEGORIES):
        raise re.error(f"invalid character class range: `{token}`")
    ranges: list[tuple[int, int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code)).startswith(name) != negated:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1] = (ranges[-1][0], code)
            else:
                ranges.append((code, code))
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
