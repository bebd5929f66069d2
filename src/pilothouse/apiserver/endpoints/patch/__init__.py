"""Patches: JSON patch, JSON merge patch, strategic merge patch. Pure functions; inputs are never changed."""
