"""Validation of the kinds in storage."""

from __future__ import annotations
