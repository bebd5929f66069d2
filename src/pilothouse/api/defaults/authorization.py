"""Defaults of the kinds in authorization.k8s.io: the access reviews have none."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter

DEFAULTS: dict[tuple[str, str, str], Defaulter] = {}
