"""Validation of the kinds in networking."""

from __future__ import annotations
