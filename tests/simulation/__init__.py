"""Whole clusters under faults, from seeds."""
