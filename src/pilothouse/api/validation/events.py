"""Validation of the kinds in events."""

from __future__ import annotations
