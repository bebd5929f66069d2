"""Two Go structs as JSON and a unified diff between them (k8s.io/apimachinery/pkg/util/diff)."""

from __future__ import annotations

import difflib
import json

from pilothouse.api.types import Obj

_CONTEXT_LINES = 3


def diff(old: Obj, new: Obj) -> str:
    """The hunks, without the lines that name files; ends in a newline."""
    before, after = (_lines(value) for value in (old, new))
    hunks = list(difflib.unified_diff(before, after, n=_CONTEXT_LINES, lineterm=""))[2:]
    return "\n".join(hunks) + "\n"


def _lines(value: Obj) -> list[str]:
    return json.dumps(value, indent=1, ensure_ascii=False).split("\n")
