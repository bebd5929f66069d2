"""Validation of the kinds in scheduling."""

from __future__ import annotations
