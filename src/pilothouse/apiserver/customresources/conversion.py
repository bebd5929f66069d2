"""Conversion between the versions of a custom resource (pkg/apiserver/conversion).

Without a webhook a version differs from another by its name and by what its schema keeps. With one, objects are sent
in a ConversionReview, and what comes back is checked: nothing but labels and annotations may have changed in metadata.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec

from pilothouse.api import errors
from pilothouse.api.structural.objects import ObjectSchema
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.writing import copy
from pilothouse.apiserver.webhook_client import WebhookError
from pilothouse.kit.world import World

_TIMEOUT_S = 30.0
_KEPT_MAX = 65_536
"""Converted objects that are remembered."""

Post = Callable[[Obj, bytes, float], Awaitable[bytes]]
"""`WebhookClient.post`."""


class Converter(Protocol):
    async def convert(self, objects: list[Obj], desired: str) -> list[Obj]:
        """Objects (of one version, not changed) in another version. Raises ApiError."""


class ByName:
    """Conversion strategy None."""

    async def convert(self, objects: list[Obj], desired: str) -> list[Obj]:
        return [{**obj, "apiVersion": desired} for obj in objects]


class ByWebhook:
    """Conversion strategy Webhook; `config` is the definition's spec.conversion.webhook."""

    def __init__(self, config: Obj, post: Post, world: World) -> None:
        self._client_config: Obj = config["clientConfig"]
        versions = config.get("conversionReviewVersions") or ["v1"]
        self._review = "v1" if "v1" in versions else versions[0]
        self._post = post
        self._world = world

    async def convert(self, objects: list[Obj], desired: str) -> list[Obj]:
        source = _kind_text(objects[0])
        try:
            answer = await self._ask(objects, desired)
            if len(answer) != len(objects):
                raise _Refused(
                    f"conversion webhook for {source} returned {len(answer)} objects, expected {len(objects)}"
                )
            return [
                _checked(new, old, desired, source, at)
                for at, (old, new) in enumerate(zip(objects, answer, strict=True))
            ]
        except _Refused as refused:
            raise errors.ApiError(500, "", str(refused)) from None
        except (WebhookError, ValueError) as error:
            raise errors.ApiError(500, "", f"conversion webhook for {source} failed: {error}") from None

    async def _ask(self, objects: list[Obj], desired: str) -> list[Obj]:
        uid = self._world.uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": f"apiextensions.k8s.io/{self._review}",
            "request": {"uid": uid, "desiredAPIVersion": desired, "objects": objects},
        }
        raw = await self._post(self._client_config, msgspec.json.encode(review), _TIMEOUT_S)
        response = (msgspec.json.decode(raw) or {}).get("response")
        if not response:
            raise WebhookError("no response provided")
        if response.get("uid") != uid:
            raise WebhookError(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
        result = response.get("result") or {}
        if result.get("status") != "Success":
            told = f"response.result.status was '{result.get('status', '')}', not 'Success'"
            raise WebhookError(result.get("message") or told)
        converted: list[Obj] = response.get("convertedObjects") or []
        return converted


class _Refused(Exception):
    """An answer that is none; the text is the whole error."""


def _kind_text(obj: Obj) -> str:
    group, _, version = obj["apiVersion"].rpartition("/")
    return f"{group}/{version}, Kind={obj['kind']}"


_FIXED = ("name", "namespace", "uid")


def _checked(new: Obj, old: Obj, desired: str, source: str, at: int) -> Obj:
    """The converted object with the original's metadata, but for labels and annotations."""
    prefix = f"conversion webhook for {source} returned invalid converted object at index {at}: "
    if new.get("kind") != old["kind"]:
        raise _Refused(f"{prefix}invalid kind, expected={old['kind']}, got={new.get('kind')}")
    if new.get("apiVersion") != desired:
        raise _Refused(f"{prefix}invalid apiVersion, expected={desired}, got={new.get('apiVersion')}")
    was, meta = old["metadata"], new.get("metadata")
    if not isinstance(meta, dict):
        raise _Refused(f"{prefix}invalid metadata of type {type(meta).__name__} in converted object")
    for key in _FIXED:
        if was.get(key, "") != meta.get(key, ""):
            raise _Refused(
                f"{prefix}metadata.{key} mismatch: {was.get(key, '')!r} != {meta.get(key, '')!r}".replace(
                    "'", '"'
                )
            )
    kept = {k: v for k, v in was.items() if k not in ("labels", "annotations")}
    changed = {k: meta[k] for k in ("labels", "annotations") if meta.get(k)}
    return {**new, "metadata": {**kept, **changed}}


class VersionView:
    """One version's view of the store (`registry.view.View`). `schemas` are those of all versions, by group and
    version: an object is stored in what was the storage version then. `plain`: whatever is stored can be shown as it
    is."""

    def __init__(
        self, own: str, storage: str, schemas: dict[str, ObjectSchema], converter: Converter, *, plain: bool
    ) -> None:
        self.plain = plain
        self._own = own
        self._storage = storage
        self._schemas = schemas
        self._converter = converter
        self._by_name = isinstance(converter, ByName)
        self._converted: dict[int, Obj] = {}

    async def ready(self, stored: Iterable[Obj]) -> None:
        if self.plain or self._by_name:
            return
        waiting: dict[str, list[Obj]] = {}
        for obj in stored:
            if obj["apiVersion"] != self._own and _identity(obj) not in self._converted:
                waiting.setdefault(obj["apiVersion"], []).append(obj)
        for version, objects in waiting.items():
            conforming = [self._conforming(obj, version) for obj in objects]
            for old, new in zip(objects, await self._converter.convert(conforming, self._own), strict=True):
                self._schemas[self._own].prune(new)
                self._converted[_identity(old)] = new
        while len(self._converted) > _KEPT_MAX:
            del self._converted[next(iter(self._converted))]

    def _conforming(self, stored: Obj, version: str) -> Obj:
        obj = _owned(stored)
        self._schemas.get(version, self._schemas[self._own]).conform(obj)
        return obj

    def seen(self, stored: Obj) -> Obj:
        if self.plain:
            return stored
        version = stored["apiVersion"]
        if version == self._own:
            return self._conforming(stored, version)
        if not self._by_name:
            found = self._converted.get(_identity(stored))
            if found is None:
                raise errors.ApiError(500, "", f"{_kind_text(stored)} was not converted to {self._own}")
            return _owned(found)
        obj = self._conforming(stored, version)
        obj["apiVersion"] = self._own
        self._schemas[self._own].prune(obj)
        return obj

    def glimpsed(self, stored: Obj) -> Obj:
        """As `seen`, but what is not ready is seen as it is stored: for selectors, which cannot wait."""
        if (
            not self._by_name
            and stored["apiVersion"] != self._own
            and _identity(stored) not in self._converted
        ):
            return stored
        return self.seen(stored)

    async def final(self, obj: Obj) -> Obj:
        if self._own == self._storage:
            return obj
        (stored,) = await self._converter.convert([obj], self._storage)
        self._schemas[self._storage].prune(stored)
        return stored


def _identity(obj: Obj) -> int:
    """By content: a dry run answers with an object that has the revision of another one."""
    return hash(msgspec.json.encode(obj))


def _owned(stored: Obj) -> Obj:
    """A copy that may be changed, but for what is in its metadata."""
    obj: Obj = copy({key: value for key, value in stored.items() if key != "metadata"})
    obj["metadata"] = dict(stored["metadata"])
    return obj
