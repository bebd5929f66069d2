"""DELETE of one object and of a collection."""

from __future__ import annotations

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints import body, listing, negotiation, render
from pilothouse.apiserver.endpoints.options import delete_options, is_dry_run, list_options
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.registry.rest import RETURNS_DELETED, Deleted
from pilothouse.apiserver.request import Request, Response

_OPTIONS_KINDS = ("DeleteOptions",)


async def delete(request: Request, scope: Scope) -> Response:
    form = negotiation.form_of(request)
    options = delete_options(request, read_body(request, scope))
    ctx = scope.context(request, dry_run=is_dry_run(options))
    warn_of_orphans(request, scope, options)
    outcome = await scope.rest.delete(ctx, request.info.name, options)
    code = 202 if not outcome.gone and options.get("orphanDependents") is False else 200
    if outcome.gone and scope.kind.resource.kind not in RETURNS_DELETED:
        return render.document(_success(request, scope, outcome.obj), form, code)
    await scope.ready((outcome.obj,))
    return render.one(request, scope.kind, scope.to_request_version(outcome.obj), None, form, code)


def warn_of_orphans(request: Request, scope: Scope, options: Obj) -> None:
    """Upstream's warning for kinds whose dependents are orphaned unless asked otherwise (batch Job)."""
    explicit = options.get("propagationPolicy") is not None or options.get("orphanDependents") is not None
    if scope.kind.resource.kind == "Job" and not explicit:
        request.warnings.append(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove "
            "them or set propagationPolicy=Orphan to suppress this warning"
        )


def _success(request: Request, scope: Scope, obj: Obj) -> Obj:
    details: Obj = {"name": request.info.name}
    if scope.kind.resource.group:
        details["group"] = scope.kind.resource.group
    details["kind"] = scope.kind.resource.plural
    details["uid"] = obj["metadata"].get("uid", "")
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def read_body(request: Request, scope: Scope) -> Obj:
    """A DeleteOptions body, {} when there is none; 400 or 415 for anything else."""
    if not request.body:
        return {}
    if isinstance(request.body, dict):
        return request.body
    media_type = negotiation.body_type(request.headers.get("content-type", ""))
    try:
        value, _ = body.parsed(scope.shared.codec, bytes(request.body), media_type)
    except ValueError as error:
        raise errors.bad_request(str(error)) from None
    if not isinstance(value, dict):
        return {}
    kind, version = value.get("kind", ""), value.get("apiVersion", "")
    if kind and kind not in _OPTIONS_KINDS:
        raise errors.bad_request(
            f'no kind "{kind}" is registered for version "{version}" in scheme '
            '"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"'
        )
    return value


async def delete_collection(request: Request, scope: Scope) -> Response:
    form = negotiation.form_of(request)
    options = delete_options(request, read_body(request, scope))
    selected = list_options(request, watch=False)
    page = await listing.read_page(request, scope, selected)
    for item in page.items:
        await _delete_one(request, scope, item.obj, options)
    return listing.answer(request, scope, page, {"resourceVersion": str(page.revision)}, form)


async def _delete_one(request: Request, scope: Scope, obj: Obj, options: Obj) -> Deleted | None:
    """None when it went away meanwhile."""
    meta = obj["metadata"]
    ctx = scope.context(request, dry_run=is_dry_run(options))
    ctx.namespace = meta.get("namespace", "")
    try:
        return await scope.rest.delete(ctx, meta["name"], dict(options))
    except errors.ApiError as error:
        if error.code == 404:
            return None
        raise
