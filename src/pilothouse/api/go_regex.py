"""Go's regular expressions (RE2 syntax) with Python's engine.

What differs between the two and appears in practice: `$` and `\\z` mean the very end, character classes such as
\\d and \\w are ASCII, POSIX classes and \\Q…\\E exist.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(
    r"\\Q.*?(?:\\E|$)|\\z|\\.|\[:\^?[a-z]+:\]|\[\]|\[\^\]|[\[\]$]|\(\?[a-zA-Z]+\)|.", re.DOTALL
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


@lru_cache(maxsize=1024)
def compile_go(pattern: str) -> re.Pattern[str]:
    """Raises re.error for a pattern that is none, or that Python's engine does not know (\\p{…})."""
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
            out.append(_POSIX.get(token[2:-2], token) if token.startswith("[:") else token)
        elif token.startswith("\\Q"):
            out.append(re.escape(token[2:].removesuffix("\\E")))
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
