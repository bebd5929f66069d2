"""Validation of the kinds in admissionregistration."""

from __future__ import annotations
