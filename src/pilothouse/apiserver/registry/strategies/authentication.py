"""Strategies of the kinds in authentication.k8s.io: reviews are answered, never stored, and have none."""

from __future__ import annotations

from pilothouse.apiserver.registry.strategy import Strategy

STRATEGIES: dict[tuple[str, str], Strategy] = {}
