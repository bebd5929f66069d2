"""Validation of the kinds in apiregistration."""

from __future__ import annotations
