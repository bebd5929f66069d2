"""POST, PUT and PATCH: what a client sent becomes what it wants, then the registry decides.

Order of one write, as upstream's handlers have it: options → body → defaults → field ownership → mutating
admission → registry (metadata, strategy, validation, validating admission, store). For updates everything
from the live object on runs again when another write came between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pilothouse.api import errors
from pilothouse.api.field import invalid as field_invalid
from pilothouse.api.schema import parse
from pilothouse.api.schema.decode import json_type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints import body, drafts, negotiation, render
from pilothouse.apiserver.endpoints.apply.manager import FieldManager, named
from pilothouse.apiserver.endpoints.negotiation import Form
from pilothouse.apiserver.endpoints.options import is_dry_run, write_options
from pilothouse.apiserver.endpoints.patch import (
    go_text,
    json_patch,
    merge_patch,
    strategic_merge,
    unstructured,
)
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.registry import metadata
from pilothouse.apiserver.registry.kind import Kind
from pilothouse.apiserver.registry.rest import Change
from pilothouse.apiserver.registry.strategy import Context
from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.storage.item import Item
from pilothouse.kit.caching import cached_texts

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
_CUSTOM_PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
_MANAGER_LENGTH_MAX = 128


def manager_of(request: Request, options: Obj) -> str:
    """fieldManager, or the User-Agent up to its first slash, cut to 128 characters."""
    named: str = options.get("fieldManager", "")
    if named:
        return named
    return _manager_of_agent(request.headers.get("user-agent", ""))


@cached_texts(1024)
def _manager_of_agent(user_agent: str) -> str:
    agent = user_agent.partition("/")[0]
    return "".join(c for c in agent if c.isprintable())[:_MANAGER_LENGTH_MAX] or "unknown"


def field_manager(scope: Scope, subresource: str) -> FieldManager:
    if subresource == "status" and scope.status_fields is not None:
        return scope.status_fields
    return scope.fields


async def create(request: Request, scope: Scope) -> Response:
    form = negotiation.form_of(request)
    options = write_options(request, "CreateOptions")
    ctx = scope.context(request, dry_run=is_dry_run(options))
    obj = _new(request, scope, ctx, options)
    item = await scope.rest.create(ctx, _stored(scope, obj), options)
    return await answer(request, scope, item, form, 201)


def _new(request: Request, scope: Scope, ctx: Context, options: Obj) -> Obj:
    """The object that a client wants to be made, and who owns its fields."""
    sent, manager, now = (
        body.sent(request, scope, options),
        manager_of(request, options),
        ctx.world.timestamp(),
    )
    if scope.drafts is None or sent.duplicates:
        return _read_new(sent, request, scope, ctx, options, manager, now)
    key = drafts.key(sent.value, ctx.namespace)
    draft = scope.drafts.find(key)
    if draft is not None:
        return draft.made(sent.value["metadata"].get("name"), manager, now)
    obj = _read_new(sent, request, scope, ctx, options, manager, now)
    if not request.warnings and body.field_validation(options) != "Ignore":
        scope.drafts.keep(key, obj)
    return obj


def _read_new(
    sent: body.Sent, request: Request, scope: Scope, ctx: Context, options: Obj, manager: str, now: str
) -> Obj:
    obj = body.made_of(sent, request, scope, options)
    meta = obj.setdefault("metadata", {})
    if meta.get("resourceVersion"):
        raise errors.ApiError(500, "", "resourceVersion should not be set on objects to be created")
    metadata.check_namespace(obj, ctx.namespace)
    metadata.wipe(obj)
    metadata.deduplicate_owners(obj, ctx.warnings)
    return scope.fields.update(None, obj, manager, "", now)


def _stored(scope: Scope, obj: Obj) -> Obj:
    convert = scope.kind.to_storage
    return obj if convert is None else convert(obj)


async def answer(request: Request, scope: Scope, item: Item, form: Form, status: int = 200) -> Response:
    await scope.ready((item.obj,))
    if scope.kind.from_storage is None:
        raw = None if request.in_process else item.raw
        return render.one(request, scope.kind, item.obj, raw, form, status)
    return render.one(request, scope.kind, scope.to_request_version(item.obj), None, form, status)


async def update(request: Request, scope: Scope) -> Response:
    form = negotiation.form_of(request)
    options = write_options(request, "UpdateOptions")
    sent = body.read(request, scope, options)
    name = request.info.name
    check_name(sent, name)
    ctx = scope.context(request, dry_run=is_dry_run(options))
    metadata.check_namespace(sent, ctx.namespace)
    metadata.deduplicate_owners(sent, ctx.warnings)
    manager = manager_of(request, options)
    attempts = _Attempts(sent)

    async def change(old: Obj | None) -> Obj:
        live = scope.to_request_version(old) if old is not None else None
        fields = field_manager(scope, ctx.subresource)
        obj = fields.update(live, attempts.next(), manager, ctx.subresource, scope.shared.world.timestamp())
        stored = _stored(scope, obj)
        if old is not None:
            await scope.rest.admit_update(ctx, stored, old, options)
        return stored

    uid = sent["metadata"].get("uid", "")
    item, made = await scope.rest.update(ctx, name, change, options, uid=uid)
    return await answer(request, scope, item, form, 201 if made else 200)


class _Attempts:
    """What was sent, whole for each attempt: nearly always there is one, which may have the object itself."""

    def __init__(self, sent: Obj) -> None:
        self._sent: Obj | None = sent
        self._text = msgspec.json.encode(sent)

    def next(self) -> Obj:
        first, self._sent = self._sent, None
        again: Obj = msgspec.json.decode(self._text) if first is None else first
        return again


def check_name(obj: Obj, name: str) -> None:
    """400 when a body names another object than the path."""
    given = (obj.setdefault("metadata", {}) or {}).get("name", "")
    if not given:
        raise errors.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    if given != name:
        raise errors.bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({name})"
        )


def copy(value: Any) -> Any:
    """A deep copy of JSON."""
    if isinstance(value, dict):
        return {k: copy(v) if isinstance(v, (dict, list)) else v for k, v in value.items()}
    if isinstance(value, list):
        return [copy(v) if isinstance(v, (dict, list)) else v for v in value]
    return value


async def patch(request: Request, scope: Scope) -> Response:
    form = negotiation.form_of(request)
    patch_type = patch_type_of(request, scope)
    options = write_options(request, "PatchOptions")
    ctx = scope.context(request, dry_run=is_dry_run(options))
    change = (
        _apply(request, scope, ctx, options)
        if patch_type == APPLY_PATCH
        else _patch(request, scope, ctx, options, patch_type)
    )
    name = request.info.name
    item, made = await scope.rest.update(ctx, name, change, options, create=patch_type == APPLY_PATCH)
    return await answer(request, scope, item, form, 201 if made else 200)


def patch_type_of(request: Request, scope: Scope) -> str:
    """The patch's media type; 415 for what this resource does not take."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if content_type not in _PATCH_TYPES:
        error = errors.unsupported_media_type("415: Unsupported Media Type")
        error.details = {}
        raise error
    if scope.kind.custom and content_type not in _CUSTOM_PATCH_TYPES:
        accepted = ", ".join(_CUSTOM_PATCH_TYPES)
        raise errors.unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    return content_type


def _patch(request: Request, scope: Scope, ctx: Context, options: Obj, patch_type: str) -> Change:
    manager = manager_of(request, options)
    raw = request.body if request.body is not None else b""

    async def change(old: Obj | None) -> Obj:
        if old is None:
            raise errors.not_found(scope.rest.named.group, scope.rest.named.plural, request.info.name)
        live = scope.to_request_version(old)
        patched, duplicates, shown = _patched(live, raw, patch_type, scope)
        obj = _decode_patched(request, scope, patched, duplicates, options, shown)
        fields = field_manager(scope, ctx.subresource)
        obj = fields.update(live, obj, manager, ctx.subresource, scope.shared.world.timestamp())
        stored = _stored(scope, obj)
        await scope.rest.admit_update(ctx, stored, old, options)
        return stored

    return change


def _patched(live: Obj, raw: Any, patch_type: str, scope: Scope) -> tuple[Obj, list[str], Callable[[], str]]:
    """The live object with a patch laid over it, the patch's duplicate fields, and how errors show it."""
    if patch_type == JSON_PATCH:
        operations, problems = json_patch.read(raw)
        patched = json_patch.apply(live, operations)
        if scope.kind.custom:
            return patched, problems, lambda: go_text.sorted_json(patched)
        return patched, problems, lambda: go_text.patched_json(patched, live, operations)
    if patch_type == MERGE_PATCH:
        value, duplicates = merge_patch.read(raw)
        merged = merge_patch.apply(live, value)
        if scope.kind.custom:
            return merged, duplicates, lambda: go_text.sorted_json(merged)
        return merged, duplicates, lambda: go_text.patched_json(merged, live)
    value, duplicates = strategic_merge.read(raw)
    applied = strategic_merge.apply(live, value, scope.kind.type)
    text = unstructured.misfit(applied, scope.kind.type)
    if text:
        raise errors.invalid("", "", "", [field_invalid("patch", strategic_merge.go_map(value), text)])
    return applied, duplicates, lambda: strategic_merge.go_map(value)


def _check_type(scope: Scope, patched: Obj) -> None:
    """A patch may not turn an object into another kind."""
    resource = scope.kind.resource
    api_version, name = patched.get("apiVersion"), patched.get("kind")
    if (api_version, name) != (resource.group_version, resource.kind):
        if scope.kind.custom:
            raise _custom_type_error(scope.kind, patched)
        group, _, version = str(api_version or "").rpartition("/")
        raise ValueError(body.unconvertible(scope, group, version, str(name or "")))


def _custom_type_error(kind: Kind, patched: Obj) -> errors.ApiError:
    """The same of a custom resource, whose strategy says it."""
    resource = kind.resource
    found = []
    if patched.get("kind") != resource.kind:
        found.append(field_invalid("kind", patched.get("kind"), f"must be {resource.kind}"))
    if patched.get("apiVersion") != resource.group_version:
        found.append(
            field_invalid("apiVersion", patched.get("apiVersion"), f"must be {resource.group_version}")
        )
    name = (patched.get("metadata") or {}).get("name", "")
    return errors.invalid(resource.group, str(patched.get("kind")), name, found)


def _decode_patched(
    request: Request,
    scope: Scope,
    patched: Obj,
    duplicates: list[str],
    options: Obj,
    shown: Callable[[], str],
) -> Obj:
    """Decode and default a patched object; 422 for what does not fit its type. `shown` is how the error shows
    what was wrong: the patched object, or for strategic merge patches the patch."""
    kind = scope.kind
    try:
        _check_type(scope, patched)
        decoded = kind.decode(patched)
    except ValueError as error:
        raise errors.invalid("", "", "", [field_invalid("patch", shown(), str(error))]) from None
    problems = [*duplicates, *decoded.strict_errors] if kind.custom else [*decoded.strict_errors, *duplicates]
    if problems:
        report_patch(request, problems, options, shown)
    obj = decoded.obj
    kind.default(obj)
    if obj["metadata"].get("name") != request.info.name:
        check_name(obj, request.info.name)
    metadata.check_namespace(obj, scope.namespace(request))
    return obj


def report_patch(request: Request, problems: list[str], options: Obj, shown: Callable[[], str]) -> None:
    """Unknown fields of a patch: refused, warned about or ignored."""
    validation = body.field_validation(options)
    if validation == "Strict":
        text = "strict decoding error: " + ", ".join(problems)
        raise errors.invalid("", "", "", [field_invalid("patch", shown(), text)])
    if validation == "Warn":
        request.warnings.extend(problems)


def _apply(request: Request, scope: Scope, ctx: Context, options: Obj) -> Change:
    applied = _applied(request, scope, options)
    manager, force = options.get("fieldManager", ""), bool(options.get("force"))

    async def change(old: Obj | None) -> Obj:
        live = scope.to_request_version(old) if old is not None else None
        now = scope.shared.world.timestamp()
        fields = field_manager(scope, ctx.subresource)
        obj = fields.apply(live, copy(applied), manager, ctx.subresource, now, force=force)
        obj = _decode_applied(scope, obj, applied)
        scope.kind.default(obj)
        uid = obj["metadata"].get("uid")
        if old is None and uid:
            text = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise errors.conflict(scope.rest.named.group, scope.rest.named.plural, request.info.name, text)
        metadata.check_namespace(obj, scope.namespace(request))
        check_name(obj, request.info.name)
        stored = _stored(scope, obj)
        if old is not None:
            await scope.rest.admit_update(ctx, stored, old, options)
        return stored

    return change


def _decode_applied(scope: Scope, obj: Obj, applied: Obj) -> Obj:
    """What applying gave; 500 (as upstream) where it fits the schema, but not the type."""
    try:
        return scope.kind.decode(obj).obj
    except ValueError as error:
        why = unstructured.misfit(obj, scope.kind.type) or str(error)
        resource = scope.kind.resource
        raise errors.ApiError(
            500,
            "",
            f"failed to convert new object ({named(applied)}) to proper version: unable to convert unstructured "
            f"object to {resource.group}/{resource.version}, Kind={resource.kind}: {why}",
        ) from None


def _applied(request: Request, scope: Scope, options: Obj) -> Obj:
    """The applied configuration as sent: YAML or JSON, not defaulted. 400 when it is of another kind."""
    value = _applied_value(request, options)
    resource = scope.kind.resource
    kind, api_version = (v if isinstance(v, str) else "" for v in map(value.get, ("kind", "apiVersion")))
    if (kind, api_version) != (resource.kind, resource.group_version):
        group, _, version = api_version.rpartition("/")
        raise errors.bad_request(f"invalid object type: {group}/{version}, Kind={kind}")
    return value


def _string(obj: Obj, name: str) -> str:
    """As unstructured.NestedString: "" for what is no string."""
    value = obj.get(name)
    return value if isinstance(value, str) else ""


def _applied_value(request: Request, options: Obj) -> Obj:
    raw = request.body
    if isinstance(raw, dict):
        return raw
    wants_duplicates = body.field_validation(options) != "Ignore"
    try:
        value, duplicates = parse.body(
            raw if isinstance(raw, bytes) else b"", negotiation.YAML, duplicates=wants_duplicates
        )
    except ValueError as error:
        raise errors.bad_request(f"error decoding YAML: error converting YAML to JSON: {error}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise errors.bad_request(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
            f"{json_type(value)} into Go value of type map[string]interface {{}}"
        )
    if duplicates:
        _report_duplicates(request, duplicates, options)
    return value


def _report_duplicates(request: Request, duplicates: list[str], options: Obj) -> None:
    validation = body.field_validation(options)
    if validation == "Strict":
        raise errors.bad_request(
            f"error strict decoding YAML: error converting YAML to JSON: {duplicates[0]}"
        )
    if validation == "Warn":
        request.warnings.extend(duplicates)
