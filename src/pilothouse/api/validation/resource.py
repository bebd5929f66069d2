"""Validation of the kinds in resource."""

from __future__ import annotations
