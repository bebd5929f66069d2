"""Conversions of kinds whose versions differ in shape, one file per API group."""
