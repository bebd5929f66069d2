"""The client every component uses, over either transport.

Objects that come back are shared: never change them (copy first). A failure raises `api.errors.ApiError`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple, Protocol

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj

PatchType = Literal["json", "merge", "strategic", "apply"]


class WatchEvent(NamedTuple):
    type: str
    """ADDED, MODIFIED, DELETED, BOOKMARK (ERROR is raised as ApiError)."""
    object: Obj


Batch = list[WatchEvent]


class Client(Protocol):
    """One identity at one API server."""

    async def get(
        self, resource: Resource, name: str, namespace: str = "", *, subresource: str = ""
    ) -> Obj: ...

    async def list(self, resource: Resource, namespace: str = "", **params: str) -> Obj:
        """The list object; `namespace` "" lists all. `params` are query parameters (labelSelector, …)."""

    async def create(
        self,
        resource: Resource,
        obj: Obj,
        namespace: str = "",
        *,
        name: str = "",
        subresource: str = "",
        **params: str,
    ) -> Obj:
        """With `subresource` (binding, eviction, token) `name` is the parent's."""

    async def update(self, resource: Resource, obj: Obj, *, subresource: str = "", **params: str) -> Obj: ...

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        patch_type: PatchType = "merge",
        subresource: str = "",
        **params: str,
    ) -> Obj: ...

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", options: Obj | None = None
    ) -> Obj: ...

    async def delete_collection(
        self, resource: Resource, namespace: str = "", options: Obj | None = None, **params: str
    ) -> Obj: ...

    def watch(self, resource: Resource, namespace: str = "", **params: str) -> AsyncIterator[Batch]:
        """Batches of events as they come. Ends when the server ends it; raises ApiError (410 Expired) on a
        lost history."""

    async def raw(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """A path outside the resources: /version, /apis, metrics APIs."""
