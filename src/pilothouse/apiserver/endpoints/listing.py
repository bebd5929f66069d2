"""GET of one object and of a collection: revisions, chunks, forms.

Which revision a list is served at (https://kubernetes.io/docs/reference/using-api/api-concepts/
#the-resourceversion-parameter):

    resourceVersion   match          served at
    unset             -              the newest
    "0"               -, NotOlder    any (here: what the watch cache has)
    N                 -, NotOlder    the newest, at least N          (with a limit and no match: exactly N)
    N                 Exact          exactly N
    continue                         the revision in the token
"""

from __future__ import annotations

import base64
import posixpath
import re
from typing import Any, NamedTuple

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.schema import parse
from pilothouse.api.schema.decode import json_type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints import negotiation, render, selection
from pilothouse.apiserver.endpoints.negotiation import JSON, Form
from pilothouse.apiserver.endpoints.options import ListOptions, list_options
from pilothouse.apiserver.endpoints.options import revision as parse_revision
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.storage.store import ContinueExpired, Page

_TOKEN_VERSION = "meta.k8s.io/v1"


class Position(NamedTuple):
    """Where a list goes on: `revision` -1 means the newest; `start` is the key after the prefix."""

    revision: int
    start: str


def encode_continue(position: Position) -> str:
    token = {"v": _TOKEN_VERSION, "rv": position.revision, "start": position.start}
    return base64.urlsafe_b64encode(render.encode(token)).rstrip(b"=").decode()


def decode_continue(token: str) -> Position:
    """400 with upstream's text for anything that is no token of ours."""
    data = _unwrapped(token)
    value, wrong = parse.json_value(data)
    wrong = wrong or _mistyped(value)
    if wrong:
        raise _bad_token(wrong)
    fields = value or {}
    version, revision, start = fields.get("v") or "", fields.get("rv") or 0, fields.get("start") or ""
    if version != _TOKEN_VERSION:
        raise _bad_token(f"server does not recognize this encoded version {go_quote(version)}")
    if not revision:
        raise _bad_token(f"incorrect encoded start resourceVersion (version {_TOKEN_VERSION})")
    if not start:
        raise _bad_token(f"encoded start key empty (version {_TOKEN_VERSION})")
    key = start if start.startswith("/") else f"/{start}"
    if (
        key.startswith("//") or posixpath.normpath(key) != key
    ):  # upstream's guard against keys outside the prefix
        raise _bad_token(start)
    return Position(revision, start)


_BASE64_URL = re.compile("[A-Za-z0-9_-]*")


def _unwrapped(token: str) -> bytes:
    """Base64 of the URL's alphabet, without padding; Go names the byte that it cannot take."""
    match = _BASE64_URL.match(token)
    good = match.end() if match else 0
    if good < len(token) or len(token) % 4 == 1:
        at = good if good < len(token) else len(token) - 1
        raise _bad_token(f"illegal base64 data at input byte {at}")
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


_TOKEN_FIELDS = {"v": (str, "string"), "rv": (int, "int64"), "start": (str, "string")}


def _mistyped(value: Any) -> str:
    """What Go says of JSON that does not fit into a token; "" when it does."""
    if value is None:
        return ""
    if not isinstance(value, dict):
        return f"json: cannot unmarshal {json_type(value)} into Go value of type storage.continueToken"
    for name, (wanted, go_name) in _TOKEN_FIELDS.items():
        given = value.get(name)
        if given is not None and (not isinstance(given, wanted) or isinstance(given, bool)):
            return (
                f"json: cannot unmarshal {json_type(given)} into Go struct field "
                f"continueToken.{name} of type {go_name}"
            )
    return ""


def _bad_token(why: str) -> errors.ApiError:
    return errors.bad_request(f"invalid continue token: continue key is not valid: {why}")


async def get(request: Request, scope: Scope) -> Response:
    form = negotiation.form_of(request)
    revision = request.param("resourceVersion")
    if not revision:
        if not scope.rest.store.is_fresh:
            await scope.rest.store.fresh()
    else:
        try:
            await scope.rest.store.wait_revision(parse_revision(revision))
        except ValueError as error:
            text = f"resourceVersion: Invalid value: {go_quote(revision)}: {error}"
            raise errors.ApiError(500, "", text) from None
    item = scope.rest.get(scope.namespace(request), request.info.name)
    if scope.kind.from_storage is None:
        if not form.target and form.media_type == JSON and not request.in_process and not form.pretty:
            return render.json_bytes(item.raw)
        return render.one(request, scope.kind, item.obj, item.raw, form)
    await scope.ready((item.obj,))
    return render.one(request, scope.kind, scope.to_request_version(item.obj), None, form)


async def list_(request: Request, scope: Scope) -> Response:
    form = negotiation.form_of(request)
    options = list_options(request, watch=False)
    page = await read_page(request, scope, options)
    meta: Obj = {"resourceVersion": str(page.revision)}
    if page.next_start:
        meta["continue"] = encode_continue(Position(page.revision, page.next_start))
        if page.remaining is not None:
            meta["remainingItemCount"] = page.remaining
    return answer(request, scope, page, meta, form)


async def read_page(request: Request, scope: Scope, options: ListOptions) -> Page:
    """The selected items of the collection that the request names."""
    namespace = scope.namespace(request)
    selected = selection.predicate(scope, options)
    start, revision = "", None
    if options.continue_:
        if options.resource_version not in ("", "0"):
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        if options.resource_version == "0":
            options.limit = 0  # Upstream serves "any revision" from its cache, which knows no chunks.
        position = decode_continue(options.continue_)
        start = position.start
        revision = position.revision if position.revision > 0 else None
        if revision is None:
            await scope.rest.store.fresh()
    elif not options.resource_version:
        await scope.rest.store.fresh()
    elif options.resource_version not in ("", "0"):
        asked = _revision(options.resource_version)
        await scope.rest.store.wait_revision(asked)
        exact = options.match == "Exact" or (not options.match and options.limit > 0)
        revision = asked if exact else None
    try:
        page = await scope.rest.store.list(
            namespace, revision=revision, limit=max(options.limit, 0), start=start, predicate=selected
        )
    except ContinueExpired as expired:
        expired.token = encode_continue(Position(-1, expired.start))
        raise
    if scope.kind.from_storage is not None:
        await scope.ready(item.obj for item in page.items)
    return page


def _revision(text: str) -> int:
    try:
        return parse_revision(text)
    except ValueError as error:
        raise errors.bad_request(
            f"invalid resource version: resourceVersion: Invalid value: {go_quote(text)}: {error}"
        ) from None


def answer(request: Request, scope: Scope, page: Page, meta: Obj, form: Form) -> Response:
    kind = scope.kind
    if form.target:
        return render.document(_transform(request, scope, page, meta, form), form)
    if kind.custom:
        meta = {"continue": "", **meta}  # an UnstructuredList always has one
    head = {"kind": kind.list_kind, "apiVersion": kind.resource.group_version, "metadata": meta}
    if request.in_process:
        objects = [scope.to_request_version(item.obj) for item in page.items]
        return Response(200, b"", {"Content-Type": JSON}, obj={**head, "items": objects})
    if form.media_type != JSON or form.pretty or kind.from_storage is not None:
        objects = [_list_item(kind.custom, scope.to_request_version(i.obj)) for i in page.items]
        return render.document({**head, "items": objects}, form, in_order=kind.custom)
    items = [i.document for i in page.items] if kind.custom else [i.list_raw for i in page.items]
    body = b"".join((render.encode(head)[:-1], b',"items":[', b",".join(items), b"]}\n"))
    return render.json_bytes(body)


def _list_item(custom: bool, obj: Obj) -> Obj:
    """Typed lists carry no kind and version in their items."""
    if custom:
        return obj
    return {k: v for k, v in obj.items() if k not in ("kind", "apiVersion")}


def _transform(request: Request, scope: Scope, page: Page, meta: Obj, form: Form) -> Obj:
    kind = scope.kind
    if form.target == "PartialObjectMetadata":
        package = kind.go_name.rpartition(".")[0]
        raise errors.not_acceptable(
            "you requested PartialObjectMetadata, but the requested object is a list "
            f"(*{package}.{kind.list_kind})"
        )
    objects = [scope.to_request_version(item.obj) for item in page.items]
    if form.target == "Table":
        return render.table(request, kind, objects, meta, form)
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{form.target_version}",
        "metadata": meta,
        "items": [render.partial(obj, form.target_version) for obj in objects],
    }
