"""Validation of the kinds in authentication."""

from __future__ import annotations
