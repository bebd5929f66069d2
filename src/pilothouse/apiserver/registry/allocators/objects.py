"""How an allocator makes and removes the objects that say what is taken."""

from __future__ import annotations

from typing import Protocol

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj


class Objects(Protocol):
    async def create(self, resource: Resource, obj: Obj) -> bool:
        """False when it is there already."""

    async def delete(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Remove; nothing to do is no error."""
