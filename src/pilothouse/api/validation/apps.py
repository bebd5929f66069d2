"""Validation of the kinds in apps."""

from __future__ import annotations
