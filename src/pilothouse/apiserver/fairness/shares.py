"""How many seats each priority level has (nominal concurrency limits, KEP-1040)."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from pilothouse.api.types import Obj

_DEFAULT_SHARES = 30


def of(level: Obj) -> int:
    spec = level["spec"]
    if spec["type"] == "Exempt":
        return int((spec.get("exempt") or {}).get("nominalConcurrencyShares", 0) or 0)
    found = (spec.get("limited") or {}).get("nominalConcurrencyShares")
    return _DEFAULT_SHARES if found is None else int(found)


def nominal_limits(levels: Iterable[Obj], total: int) -> dict[str, int]:
    """By name: a level's part of all seats, rounded up."""
    found = {level["metadata"]["name"]: of(level) for level in levels}
    everything = sum(found.values()) or 1
    return {name: ceil(total * shares / everything) for name, shares in found.items()}
