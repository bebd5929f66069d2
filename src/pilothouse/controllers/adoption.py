"""Which objects belong to a controlling object: adopt what matches, release what no longer does
(k8s.io/kubernetes/pkg/controller/controller_ref_manager.go).

An object with a controller is only ever taken away by that controller; one without may be adopted by anyone
whose selector matches, if neither is being deleted. Before the first adoption the owner is read again from
the API server: the informer may not know yet that it is gone. An owner that cannot adopt must not go on either:
it would make anew what it failed to adopt.
"""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import labels
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.reconciler import TryAgain, controller_of, controller_ref
from pilothouse.controllers.pods import is_terminating


class Claim:
    """One owner's claim on objects of one resource."""

    def __init__(
        self,
        client: Client,
        owner: Obj,
        owner_resource: Resource,
        resource: Resource,
        selector: labels.Selector,
        fits: Callable[[Obj], bool] = lambda obj: True,
        wrote: Callable[[Obj], None] = lambda answer: None,
    ) -> None:
        """`fits`: what an object must be beside being selected; one that is not is released too. `wrote` is told
        what the API server answered to each change."""
        self._client = client
        self._owner = owner
        self._owner_resource = owner_resource
        self._resource = resource
        self._selector = selector
        self._fits = fits
        self._wrote = wrote
        self._may_adopt = False

    async def all(self, candidates: list[Obj]) -> list[Obj]:
        """Those of the candidates that are the owner's now. TryAgain, ApiError: what could not be adopted or
        released; the others were."""
        claimed, failures = [], []
        uid, matches, fits = self._owner["metadata"]["uid"], self._selector.matches, self._fits
        for obj in candidates:
            # Nearly always there is nothing to do, for hundreds of objects at each look at their owner.
            ref = controller_of(obj)
            if (
                ref is not None
                and ref["uid"] == uid
                and matches(obj["metadata"].get("labels") or {})
                and fits(obj)
            ):
                claimed.append(obj)
                continue
            try:
                if await self._claim(obj):
                    claimed.append(obj)
            except (ApiError, TryAgain) as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return claimed

    async def _claim(self, obj: Obj) -> bool:
        ref = controller_of(obj)
        matches = self._selector.matches(obj["metadata"].get("labels") or {}) and self._fits(obj)
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
        await self._check_owner(obj)
        meta = obj["metadata"]
        mine = controller_ref(self._owner, self._owner_resource)
        try:
            await self._patch(obj, {"metadata": {"ownerReferences": [mine], "uid": meta["uid"]}})
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return True

    async def _release(self, obj: Obj) -> None:
        meta = obj["metadata"]
        mine = {"$patch": "delete", "uid": self._owner["metadata"]["uid"]}
        try:
            await self._patch(obj, {"metadata": {"ownerReferences": [mine], "uid": meta["uid"]}})
        except ApiError as error:
            if error.code not in (404, 409, 422):  # gone, or another object of its name
                raise

    async def _patch(self, obj: Obj, patch: Obj) -> None:
        """Strategic: it touches one reference, and leaves those that others write meanwhile."""
        meta = obj["metadata"]
        answer = await self._client.patch(
            self._resource, meta["name"], patch, meta["namespace"], patch_type="strategic"
        )
        self._wrote(answer)

    async def _check_owner(self, obj: Obj) -> None:
        """TryAgain when the owner is gone or going (RecheckDeletionTimestamp)."""
        if self._may_adopt:
            return
        meta = self._owner["metadata"]
        fresh = (await self._client.get(self._owner_resource, meta["name"], meta["namespace"]))["metadata"]
        kind, key = self._owner_resource.kind, f"{meta['namespace']}/{meta['name']}"
        what = f"can't adopt {self._resource.kind} {obj['metadata']['namespace']}/{obj['metadata']['name']}"
        if fresh["uid"] != meta["uid"]:
            raise TryAgain(
                f"{what}: original {kind} {key} is gone: got uid {fresh['uid']}, wanted {meta['uid']}"
            )
        if fresh.get("deletionTimestamp"):
            raise TryAgain(f"{what}: {key} has just been deleted at {fresh['deletionTimestamp']}")
        self._may_adopt = True
