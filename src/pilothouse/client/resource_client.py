"""The `Client` over any transport: paths, parameters and patch types."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Batch, PatchType, WatchEvent
from pilothouse.client.transport import Transport

_PATCH_TYPES: dict[PatchType, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ResourceClient:
    """See `client.Client` for what each method promises."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Obj:
        return await self._call("GET", resource.path(namespace, name, subresource))

    async def list(self, resource: Resource, namespace: str = "", **params: str) -> Obj:
        return await self._call("GET", resource.path(namespace), params)

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
        path = resource.path(namespace, name, subresource)
        return await self._call("POST", path, params, obj)

    async def update(self, resource: Resource, obj: Obj, *, subresource: str = "", **params: str) -> Obj:
        meta = obj["metadata"]
        path = resource.path(meta.get("namespace", ""), meta["name"], subresource)
        return await self._call("PUT", path, params, obj)

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
    ) -> Obj:
        path = resource.path(namespace, name, subresource)
        answer: Obj = await self._transport.request("PATCH", path, params, body, _PATCH_TYPES[patch_type])
        return answer

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", options: Obj | None = None
    ) -> Obj:
        return await self._call("DELETE", resource.path(namespace, name), None, options)

    async def delete_collection(
        self, resource: Resource, namespace: str = "", options: Obj | None = None, **params: str
    ) -> Obj:
        return await self._call("DELETE", resource.path(namespace), params, options)

    async def watch(self, resource: Resource, namespace: str = "", **params: str) -> AsyncIterator[Batch]:
        async for batch in self._transport.stream(resource.path(namespace), {"watch": "true", **params}):
            yield [WatchEvent(kind, obj) for kind, obj in batch]

    async def raw(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        return await self._transport.request(method, path, params or None, body)

    async def close(self) -> None:
        await self._transport.close()

    async def _call(
        self, method: str, path: str, params: dict[str, str] | None = None, body: Obj | None = None
    ) -> Obj:
        answer: Obj = await self._transport.request(method, path, params, body)
        return answer
