"""Validation of the kinds in autoscaling."""

from __future__ import annotations
