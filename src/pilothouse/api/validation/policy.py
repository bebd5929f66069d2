"""Validation of the kinds in policy."""

from __future__ import annotations
