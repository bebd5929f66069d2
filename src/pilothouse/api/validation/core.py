"""Validation of the kinds in core."""

from __future__ import annotations
