"""Validation of the kinds in apiextensions."""

from __future__ import annotations
