"""What the Scale of a custom resource shows and changes (apiextensions-apiserver
pkg/registry/customresource/etcd.go)."""

from __future__ import annotations

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry import paths
from pilothouse.apiserver.registry.kind import ScalePaths


def _read(obj: Obj, path: str) -> int | None:
    try:
        return paths.integer(obj, path)
    except paths.WrongType as error:
        raise errors.ApiError(500, "InternalError", f"Internal error occurred: {error}") from None


def check_replicas(obj: Obj, scale: ScalePaths) -> None:
    """500 for an object that says nothing of its replicas."""
    if _read(obj, scale.spec_replicas) is None:
        text = f"the spec replicas field {go_quote(scale.spec_replicas)} does not exist"
        cause = {"causes": [{"message": text}]}
        raise errors.ApiError(500, "InternalError", f"Internal error occurred: {text}", cause)


def shown(obj: Obj, scale: ScalePaths) -> Obj:
    """The Scale's spec and status."""
    replicas = _read(obj, scale.spec_replicas)
    status: Obj = {"replicas": _read(obj, scale.status_replicas) or 0}
    selector = paths.text(obj, scale.selector) if scale.selector else ""
    if selector:
        status["selector"] = selector
    return {"spec": {"replicas": replicas} if replicas else {}, "status": status}


def put_replicas(obj: Obj, sent: Obj, scale: ScalePaths) -> None:
    """Write a Scale's replicas into an object (owned at its top). 400 where none were before and none are sent."""
    wanted = (sent.get("spec") or {}).get("replicas")
    if wanted is None:
        if _read(obj, scale.spec_replicas) is None:
            text = f"the spec replicas field {go_quote(scale.spec_replicas)} cannot be empty"
            raise errors.bad_request(text)
        wanted = 0
    try:
        paths.put(obj, scale.spec_replicas, wanted)
    except paths.WrongType as error:
        raise errors.ApiError(500, "InternalError", f"Internal error occurred: {error}") from None
