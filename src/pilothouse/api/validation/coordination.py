"""Validation of the kinds in coordination."""

from __future__ import annotations
