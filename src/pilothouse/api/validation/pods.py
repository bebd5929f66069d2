"""Validation of the kinds in pods."""

from __future__ import annotations
