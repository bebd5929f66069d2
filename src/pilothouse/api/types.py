"""Names for the shapes that travel through every room."""

from __future__ import annotations

from typing import Any, TypeAlias

Obj: TypeAlias = dict[str, Any]
"""A Kubernetes object (or a part of one) as parsed from JSON. Shared and never changed once it came out of a
cache; owned by the caller when fresh."""
