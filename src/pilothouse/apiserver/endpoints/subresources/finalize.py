"""namespaces/finalize: the namespace controller says that it is done (registry/core/namespace FinalizeREST)."""

from __future__ import annotations

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints import body, negotiation, writing
from pilothouse.apiserver.endpoints.options import is_dry_run, write_options
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.request import Request, Response


async def update(request: Request, scope: Scope) -> Response:
    form = negotiation.form_of(request)
    options = write_options(request, "UpdateOptions")
    sent = body.read(request, scope, options)
    name = request.info.name
    writing.check_name(sent, name)
    ctx = scope.context(request, dry_run=is_dry_run(options))
    ctx.subresource = "finalize"
    finalizers = (sent.get("spec") or {}).get("finalizers") or []

    async def change(old: Obj | None) -> Obj:
        if old is None:
            raise errors.not_found("", "namespaces", name)
        meta = {**old["metadata"], "resourceVersion": sent["metadata"].get("resourceVersion", "")}
        spec = {**(old.get("spec") or {}), "finalizers": finalizers}
        if not finalizers:
            del spec["finalizers"]
        obj = {**old, "metadata": meta, "spec": spec}
        await scope.rest.admit_update(ctx, obj, old, options)
        return obj

    item, _ = await scope.rest.update(ctx, name, change, options)
    return await writing.answer(request, scope, item, form)
