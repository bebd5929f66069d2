"""Validation of the kinds in authorization."""

from __future__ import annotations
