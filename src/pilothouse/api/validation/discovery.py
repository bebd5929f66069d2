"""Validation of the kinds in discovery."""

from __future__ import annotations
