"""pods/binding: a pod gets its node (pkg/registry/core/pod/storage BindingREST). Once and for all: a bound pod
is not bound again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import ObjectKind
from pilothouse.apiserver.endpoints import negotiation, render
from pilothouse.apiserver.endpoints.options import is_dry_run, write_options
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.endpoints.subresources import sent
from pilothouse.apiserver.request import Request, Response

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_BINDING = ObjectKind("", "v1", "Binding")


class Binder:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def create(self, request: Request, scope: Scope) -> Response:
        options = write_options(request, "CreateOptions")
        binding = request.body if is_plain(request.body) else None
        if binding is None:
            binding = sent.read(self._server, request, "", "v1", "Binding")
        meta = binding.setdefault("metadata", {})
        name = request.info.name or meta.get("name", "")
        pods = self._server.router.scope("", "v1", "pods")
        assert pods is not None
        ctx = pods.context(request, dry_run=is_dry_run(options))
        attributes = scope.rest.attributes(ctx, "CREATE", binding, None, options, name=name, kind=_BINDING)
        await scope.rest.admission.admit(attributes)
        if meta.get("name", name) != name:
            raise errors.bad_request("name in URL does not match name in Binding object")
        _check_target(binding.get("target") or {})
        await scope.rest.admission.validate(attributes)
        ctx.subresource = "binding"
        now = self._server.world.timestamp()
        await pods.rest.amend(ctx, name, lambda old: _bound(old, binding, now), uid=meta.get("uid", ""))
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        if request.in_process:
            return Response(201, b"", obj=body)
        return render.document(body, negotiation.Form(), 201)


_PARTS = {"apiVersion", "kind", "metadata", "target"}


def is_plain(body: object) -> TypeGuard[Obj]:
    """A Binding as a scheduler in this process sends it, which decoding leaves as it is: all its parts are there, in
    the order of Go's structs, and none is unknown or empty."""
    if type(body) is not dict or body.keys() != _PARTS:
        return False
    if body["apiVersion"] != "v1" or body["kind"] != "Binding":
        return False
    return _are_texts(body["metadata"], ("name", "namespace", "uid")) and _are_texts(
        body["target"], ("kind", "name")
    )


def _are_texts(part: object, keys: tuple[str, ...]) -> bool:
    return (
        type(part) is dict
        and len(part) == len(keys)
        and all([type(part.get(key)) is str and part[key] for key in keys])
    )


def _check_target(target: Obj) -> None:
    """Upstream answers these as plain errors: a 500."""
    kind, name = target.get("kind", ""), target.get("name", "")
    if kind not in ("", "Node"):
        raise errors.ApiError(500, "", str(f.not_supported("target.kind", kind, ("Node", "<empty>"))))
    if not name:
        raise errors.ApiError(500, "", str(f.required("target.name")))


def _bound(old: Obj, binding: Obj, now: str) -> Obj:
    name, node = old["metadata"]["name"], binding["target"]["name"]
    spec = old["spec"]
    if old["metadata"].get("deletionTimestamp"):
        raise _conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _conflict(name, f"pod {name} is already assigned to node {go_quote(spec['nodeName'])}")
    if spec.get("schedulingGates"):
        raise _conflict(name, f"pod {name} has non-empty .spec.schedulingGates")
    meta = dict(old["metadata"])
    for key in ("annotations", "labels"):
        given = (binding["metadata"] or {}).get(key)
        if given:
            meta[key] = {**(meta.get(key) or {}), **given}
    status = {k: v for k, v in (old.get("status") or {}).items() if k != "nominatedNodeName"}
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    status["conditions"] = _with_condition(status.get("conditions") or (), scheduled)
    return {**old, "metadata": meta, "spec": {**spec, "nodeName": node}, "status": status}


def _with_condition(conditions: Sequence[Obj], new: Obj) -> list[Obj]:
    """In the place of the one of its type, or last."""
    if any(c["type"] == new["type"] for c in conditions):
        return [new if c["type"] == new["type"] else c for c in conditions]
    return [*conditions, new]


def _conflict(name: str, why: str) -> errors.ApiError:
    return errors.conflict("", "pods/binding", name, why)
