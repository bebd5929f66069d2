"""How deep a document may nest.

Go's decoder stops at 10,000 levels. Here every function that walks an object uses the interpreter's stack, so what
is stored must stay far below its limit (1,000 calls, of which a level may take two): else it could be written, but
no longer be read. No real object comes near (docs/decisions/0040).
"""

from __future__ import annotations

from typing import Any

NESTING_MAX = 200

EXCEEDED = "exceeded max depth"


def may_exceed(raw: bytes | bytearray) -> bool:
    """A quick look at a JSON text: False for nearly all."""
    return raw.count(b"[") + raw.count(b"{") > NESTING_MAX


STORED_MAX = 300
"""A stored object may go deeper than what was sent: patches add to it, managedFields repeat its fields."""


def exceeded(value: Any, limit: int = NESTING_MAX) -> str:
    """Go's text for a value that nests too deep (one JSON value, without shared parts); "" when it does not."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return ""
    return f"invalid character '{'{' if isinstance(level[0], dict) else '['}' {EXCEEDED}"
