"""Validation of the kinds in rbac."""

from __future__ import annotations
