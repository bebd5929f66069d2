"""The type of a defaulting function: it sets what upstream's `SetDefaults_…` set, in place, on an object in Go
round-trip form that the caller owns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pilothouse.api.types import Obj

Defaulter: TypeAlias = Callable[[Obj], None]
Defaulters: TypeAlias = Mapping[tuple[str, str, str], Defaulter]
"""By group, version, kind."""
