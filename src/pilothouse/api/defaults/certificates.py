"""Defaults of the kinds in certificates.k8s.io: v1 has none (v1beta1 guessed the signer and the usages)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter

DEFAULTS: dict[tuple[str, str, str], Defaulter] = {}
