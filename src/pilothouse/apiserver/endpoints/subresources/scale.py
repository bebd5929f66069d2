"""The scale subresource: an autoscaling/v1 Scale as a view of an object's replicas (registry/apps/*/storage)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from pilothouse.api import errors, labels
from pilothouse.api import field as f
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes, ObjectKind
from pilothouse.apiserver.endpoints import negotiation, render, writing
from pilothouse.apiserver.endpoints.options import is_dry_run, write_options
from pilothouse.apiserver.endpoints.patch import go_text, json_patch, merge_patch, strategic_merge
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.endpoints.subresources import custom_scale as custom
from pilothouse.apiserver.endpoints.subresources import sent
from pilothouse.apiserver.registry.kind import Kind
from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.storage.item import Item

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_GROUP, _VERSION = "autoscaling", "v1"
_SCALE = ObjectKind(_GROUP, _VERSION, "Scale")
_NO_TIME = ""
"""Upstream's handler carries owners of replicas over to the object without their time (managedfields ToParent)."""


class Scaler:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def get(self, request: Request, scope: Scope) -> Response:
        form = negotiation.form_of(request)
        item = await scope.rest.newest(scope.namespace(request), request.info.name)
        if scope.kind.scale is not None:
            await scope.ready((item.obj,))
            custom.check_replicas(scope.to_request_version(item.obj), scope.kind.scale)
        return await self._answer(request, scope, item, form)

    async def update(self, request: Request, scope: Scope) -> Response:
        wanted = sent.read(self._server, request, _GROUP, _VERSION, "Scale")
        writing.check_name(wanted, request.info.name)
        options = write_options(request, "UpdateOptions")
        return await self._change(request, scope, options, lambda present: wanted)

    async def patch(self, request: Request, scope: Scope) -> Response:
        patch_type = writing.patch_type_of(request, scope)
        options = write_options(request, "PatchOptions")

        def patched(present: Obj) -> Obj:
            result = _patched(present, request.body, patch_type)
            try:
                return self._server.decode(_GROUP, _VERSION, "Scale", result)
            except ValueError as error:
                text = go_text.patched_json(result, present)
                raise errors.invalid("", "", "", [f.invalid("patch", text, str(error))]) from None

        return await self._change(request, scope, options, patched)

    async def _change(
        self, request: Request, scope: Scope, options: Obj, wanted: Callable[[Obj], Obj]
    ) -> Response:
        form = negotiation.form_of(request)
        ctx = scope.context(request, dry_run=is_dry_run(options))
        ctx.subresource = ""
        manager = writing.manager_of(request, options)

        def asked(scale: Obj, before: Obj) -> Attributes:
            return scope.rest.attributes(
                ctx,
                "UPDATE",
                scale,
                before,
                options,
                name=request.info.name,
                subresource="scale",
                kind=_SCALE,
            )

        async def change(old: Obj | None) -> Obj:
            if old is None:
                raise errors.not_found(
                    scope.rest.resource.group, scope.rest.resource.plural, request.info.name
                )
            live = scope.to_request_version(old)
            before = scale_of(live, scope.kind)
            scale = copy.deepcopy(wanted(before))
            await scope.rest.admission.admit(asked(scale, before))
            obj = {**live, "metadata": dict(live["metadata"])}
            sent_revision = (scale.get("metadata") or {}).get("resourceVersion", "")
            if sent_revision or not scope.kind.custom:
                obj["metadata"]["resourceVersion"] = sent_revision
            _put_replicas(obj, scale, scope.kind)
            obj = scope.fields.update(live, obj, manager, "scale", _NO_TIME)
            return obj if scope.kind.to_storage is None else scope.kind.to_storage(obj)

        async def validate(obj: Obj, old: Obj) -> None:
            now, before = scope.to_request_version(obj), scope.to_request_version(old)
            await scope.rest.admission.validate(
                asked(scale_of(now, scope.kind), scale_of(before, scope.kind))
            )

        item, _ = await scope.rest.update(ctx, request.info.name, change, options, validate=validate)
        return await self._answer(request, scope, item, form)

    async def _answer(self, request: Request, scope: Scope, item: Item, form: negotiation.Form) -> Response:
        kind = self._server.viewed(scope.kind, _GROUP, _VERSION, "Scale") if form.target else scope.kind
        await scope.ready((item.obj,))
        live = scope.to_request_version(item.obj)
        return render.one(request, kind, scale_of(live, scope.kind), None, form)


def _put_replicas(obj: Obj, scale: Obj, kind: Kind) -> None:
    if kind.scale is not None:
        custom.put_replicas(obj, scale, kind.scale)
        return
    _validate(scale)
    obj["spec"] = {**obj["spec"], "replicas": scale["spec"].get("replicas", 0)}


def _patched(present: Obj, raw: object, patch_type: str) -> Obj:
    if patch_type == writing.JSON_PATCH:
        return json_patch.apply(present, raw)
    if patch_type == writing.MERGE_PATCH:
        return merge_patch.apply(present, merge_patch.read(raw)[0])
    return strategic_merge.apply(present, strategic_merge.read(raw)[0], Type("any"))


def _validate(scale: Obj) -> None:
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        found = [f.invalid("spec.replicas", replicas, "must be greater than or equal to 0")]
        raise errors.invalid(_GROUP, "Scale", scale["metadata"].get("name", ""), found)


def scale_of(obj: Obj, kind: Kind) -> Obj:
    """The Scale that shows an object's replicas and selector."""
    meta = obj["metadata"]
    shown = {
        k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if k in meta
    }
    if kind.scale is not None:
        return {
            "kind": "Scale",
            "apiVersion": f"{_GROUP}/{_VERSION}",
            "metadata": shown,
            **custom.shown(obj, kind.scale),
        }
    replicas = obj["spec"].get("replicas", 0)
    status: Obj = {"replicas": (obj.get("status") or {}).get("replicas", 0)}
    selector = obj["spec"].get("selector")
    if kind.resource.kind == "ReplicationController":
        selector = {"matchLabels": selector or {}}
    text = str(labels.from_label_selector(selector)) if selector else ""
    if text:
        status["selector"] = text
    spec = {"replicas": replicas} if replicas else {}
    return {
        "kind": "Scale",
        "apiVersion": f"{_GROUP}/{_VERSION}",
        "metadata": shown,
        "spec": spec,
        "status": status,
    }
