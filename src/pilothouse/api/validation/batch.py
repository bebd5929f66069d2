"""Validation of the kinds in batch."""

from __future__ import annotations
