"""Strategies of the kinds in discovery."""

from __future__ import annotations

from pilothouse.apiserver.registry.strategy import Strategy

STRATEGIES: dict[tuple[str, str], Strategy] = {}
