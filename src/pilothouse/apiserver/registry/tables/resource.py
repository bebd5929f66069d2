"""Table columns of the kinds in resource."""

from __future__ import annotations

from pilothouse.apiserver.registry.tables.column import Table

TABLES: dict[tuple[str, str], Table] = {}
