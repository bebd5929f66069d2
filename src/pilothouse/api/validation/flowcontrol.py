"""Validation of the kinds in flowcontrol."""

from __future__ import annotations
