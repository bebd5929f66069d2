"""Table columns of the kinds in authorization.k8s.io: reviews are answered, never listed, and have none."""

from __future__ import annotations

from pilothouse.apiserver.registry.tables.column import Table

TABLES: dict[tuple[str, str], Table] = {}
