"""Validation of the kinds in certificates."""

from __future__ import annotations
