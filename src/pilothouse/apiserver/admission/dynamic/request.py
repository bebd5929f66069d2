"""A request as AdmissionReviews and CEL's `request` show it (admission.k8s.io/v1 AdmissionRequest)."""

from __future__ import annotations

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic.matching import Match, Request
from pilothouse.apiserver.admission.plugin import Attributes, ObjectKind
from pilothouse.apiserver.request import UserInfo

_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


def described(a: Attributes, request: Request, match: Match) -> Obj:
    """Without uid and objects: {kind, resource, …, operation, userInfo, dryRun, options}. Empty texts are left out, as
    Go does."""
    out: Obj = {"kind": _kind(match.kind), "resource": _resource(match.resource)}
    if a.subresource:
        out["subResource"] = a.subresource
    out["requestKind"] = _kind(request.kind)
    out["requestResource"] = _resource(request.resource)
    if a.subresource:
        out["requestSubResource"] = a.subresource
    if request.name:
        out["name"] = request.name
    if request.namespace:
        out["namespace"] = request.namespace
    out |= {
        "operation": a.operation,
        "userInfo": _user(a.user),
        "dryRun": a.dry_run,
        "options": _options(a),
    }
    return out


def _kind(kind: ObjectKind) -> Obj:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _resource(resource: Resource) -> Obj:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def _user(user: UserInfo) -> Obj:
    out: Obj = {}
    if user.name:
        out["username"] = user.name
    if user.uid:
        out["uid"] = user.uid
    if user.groups:
        out["groups"] = list(user.groups)
    if user.extra:
        out["extra"] = {key: list(values) for key, values in user.extra.items()}
    return out


def _options(a: Attributes) -> Obj | None:
    """A patch is a create or an update by the time it is admitted, and so are its options."""
    kind = _OPTIONS.get(a.operation)
    if kind is None:
        return None
    rest = {key: value for key, value in a.options.items() if key not in ("kind", "apiVersion", "force")}
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **rest}
