"""Reading the body of a subresource whose kind is not its object's (Scale, Binding, Eviction, TokenRequest)."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.schema.parse import type_meta_error
from pilothouse.api.types import Obj
from pilothouse.apiserver.builtin import internal_package
from pilothouse.apiserver.endpoints import body, negotiation
from pilothouse.apiserver.request import Request

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer


def read(server: ApiServer, request: Request, group: str, version: str, kind: str) -> Obj:
    """The body as that kind, in round-trip form; 400 for anything else."""
    value = _value(server, request, kind)
    if not all(isinstance(value.get(name), (str, NoneType)) for name in ("kind", "apiVersion")):
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {kind}): {type_meta_error(value)}"
        )
    claimed_kind = value.get("kind") or kind
    claimed = value.get("apiVersion") or (f"{group}/{version}" if group else version)
    if (claimed_kind, claimed) != (kind, f"{group}/{version}" if group else version):
        claimed_version = claimed.rpartition("/")[2]
        raise errors.bad_request(
            f"{claimed_kind} in version {go_quote(claimed_version)} cannot be handled as a {kind}: converting "
            f"({claimed_version}.{claimed_kind}) to ({internal_package(group)}.{kind}): unknown conversion"
        )
    try:
        return server.decode(group, version, kind, value)
    except ValueError as error:
        raise errors.bad_request(
            f"{kind} in version {go_quote(version)} cannot be handled as a {kind}: {error}"
        ) from None


def _value(server: ApiServer, request: Request, kind: str) -> Obj:
    if isinstance(request.body, dict):
        return request.body
    raw = request.body if isinstance(request.body, bytes) else b""
    media_type = negotiation.body_type(request.headers.get("content-type", ""))
    try:
        value, _ = body.parsed(server.codec, raw, media_type)
    except ValueError as error:
        raise errors.bad_request(
            f"the object provided is unrecognized (must be of type {kind}): {error} ({body.summary(raw)})"
        ) from None
    return value or {}
