"""Strategies of the kinds in authorization."""

from __future__ import annotations

from pilothouse.apiserver.registry.strategy import Strategy

STRATEGIES: dict[tuple[str, str], Strategy] = {}
