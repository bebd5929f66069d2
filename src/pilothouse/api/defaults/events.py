"""Defaults of the kinds in events."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter

DEFAULTS: dict[tuple[str, str, str], Defaulter] = {}
