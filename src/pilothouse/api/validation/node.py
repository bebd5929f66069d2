"""Validation of the kinds in node."""

from __future__ import annotations
