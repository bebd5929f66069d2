"""Defaults of the kinds in node.k8s.io: a RuntimeClass has none."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter

DEFAULTS: dict[tuple[str, str, str], Defaulter] = {}
