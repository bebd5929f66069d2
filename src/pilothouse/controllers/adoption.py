"""Which objects belong to a controlling object: adopt what matches, release what no longer does
(k8s.io/kubernetes/pkg/controller/controller_ref_manager.go).

An object with a controller is only ever taken away by that controller; one without may be adopted by anyone
whose selector matches, if neither is being deleted. Before the first adoption the owner is read again from
the API server: the informer may not know yet that it is gone.
"""

from __future__ import annotations

from pilothouse.api import labels
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.controllers.pods import is_terminating
from pilothouse.controllers.reconciler import controller_of, controller_ref


class Claim:
    """One owner's claim on objects of one resource."""

    def __init__(
        self,
        client: Client,
        owner: Obj,
        owner_resource: Resource,
        resource: Resource,
        selector: labels.Selector,
    ) -> None:
        self._client = client
        self._owner = owner
        self._owner_resource = owner_resource
        self._resource = resource
        self._selector = selector
        self._may_adopt: bool | None = None

    async def all(self, candidates: list[Obj]) -> list[Obj]:
        """Those of the candidates that are the owner's now."""
        return [obj for obj in candidates if await self._claim(obj)]

    async def _claim(self, obj: Obj) -> bool:
        ref = controller_of(obj)
        matches = self._selector.matches(obj["metadata"].get("labels") or {})
        if ref is not None:
            if ref["uid"] != self._owner["metadata"]["uid"]:
                return False
            if matches:
                return True
            if not is_terminating(self._owner):
                await self._release(obj)
            return False
        if is_terminating(self._owner) or not matches or is_terminating(obj):
            return False
        return await self._adopt(obj)

    async def _adopt(self, obj: Obj) -> bool:
        if not await self._check_owner():
            return False
        meta = obj["metadata"]
        refs = [*(meta.get("ownerReferences") or ()), controller_ref(self._owner, self._owner_resource)]
        patch = {"metadata": {"ownerReferences": refs, "uid": meta["uid"]}}
        return await self._patch(obj, patch)

    async def _release(self, obj: Obj) -> None:
        meta = obj["metadata"]
        refs = [r for r in meta["ownerReferences"] if r["uid"] != self._owner["metadata"]["uid"]]
        await self._patch(obj, {"metadata": {"ownerReferences": refs or None, "uid": meta["uid"]}})

    async def _patch(self, obj: Obj, patch: Obj) -> bool:
        """False when the object is gone or was replaced meanwhile."""
        meta = obj["metadata"]
        try:
            await self._client.patch(self._resource, meta["name"], patch, meta["namespace"])
        except ApiError as error:
            if error.code in (404, 409, 422):
                return False
            raise
        return True

    async def _check_owner(self) -> bool:
        if self._may_adopt is None:
            meta = self._owner["metadata"]
            try:
                fresh = await self._client.get(self._owner_resource, meta["name"], meta["namespace"])
            except ApiError as error:
                if error.code != 404:
                    raise
                self._may_adopt = False
            else:
                same = fresh["metadata"]["uid"] == meta["uid"]
                self._may_adopt = same and not is_terminating(fresh)
        return self._may_adopt
