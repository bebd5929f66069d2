"""Reading what other kinds hold, from the watch cache: what admission, strategies and authorization use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj


class Lister(Protocol):
    """Objects are shared: never change them. Reads are as fresh as the last durable write of this process; what other
    servers wrote on a shared store comes within a moment."""

    def get(self, resource: Resource, name: str, namespace: str = "") -> Obj | None: ...

    async def sure(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        """None only when the store holds no such object now, whoever writes it. ApiError when that cannot be said."""

    def list(self, resource: Resource, namespace: str = "") -> Iterable[Obj]: ...

    def revision(self, resource: Resource) -> int:
        """When a resource last changed: what was derived from its objects holds as long as this is the same."""
