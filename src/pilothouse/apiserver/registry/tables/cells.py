"""Cells that many tables share: how old a thing is, and lists joined.

Texts are those of k8s.io/apimachinery/pkg/util/duration and pkg/printers/internalversion.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pilothouse.api.types import Obj

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_H = 24
YEAR_D = 365


def human_duration(seconds: float) -> str:
    """A duration with at most two units, as `kubectl` prints ages (duration.HumanDuration)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 2 * MINUTE_S:
        return f"{whole}s"
    minutes, hours = whole // MINUTE_S, whole // HOUR_S
    days = hours // DAY_H
    if minutes < 10:
        return _two(minutes, "m", whole % MINUTE_S, "s")
    if minutes < 3 * 60:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 2 * DAY_H:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % DAY_H, "h")
    if days < 2 * YEAR_D:
        return f"{days}d"
    if days < 8 * YEAR_D:
        return _two(days // YEAR_D, "y", days % YEAR_D, "d")
    return f"{days // YEAR_D}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def since(timestamp: str | None, now_s: float) -> str:
    """How long ago an RFC 3339 time was; `<unknown>` for none."""
    if not timestamp:
        return "<unknown>"
    return human_duration(now_s - datetime.fromisoformat(timestamp).timestamp())


def name(obj: Obj) -> Any:
    return obj["metadata"].get("name", "")


def age(obj: Obj, now_s: float) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now_s)
