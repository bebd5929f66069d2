"""pods/eviction: a deletion that asks the pod's disruption budget first
(pkg/registry/core/pod/storage EvictionREST,
https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.api import errors, labels
from pilothouse.api.resources import POD_DISRUPTION_BUDGETS
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import ObjectKind
from pilothouse.apiserver.endpoints import negotiation, render
from pilothouse.apiserver.endpoints.options import is_dry_run, write_options
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.endpoints.subresources import sent
from pilothouse.apiserver.registry.strategy import Context
from pilothouse.apiserver.request import Request, Response

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

_EVICTION = ObjectKind("policy", "v1", "Eviction")
_DISRUPTED_PODS_MAX = 2000
_RETRY_AFTER_S = 10


class Evictor:
    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def create(self, request: Request, scope: Scope) -> Response:
        options = write_options(request, "CreateOptions")
        eviction = sent.read(self._server, request, "policy", "v1", "Eviction")
        name = request.info.name
        if (eviction.get("metadata") or {}).get("name", name) != name:
            raise errors.bad_request("name in URL does not match name in Eviction object")
        delete_options: Obj = dict(eviction.get("deleteOptions") or {})
        dry_run = is_dry_run(options) or bool(delete_options.get("dryRun"))
        ctx = scope.context(request, dry_run=dry_run)
        await scope.rest.admission.ask(
            scope.rest.attributes(ctx, "CREATE", eviction, None, options, name=name, kind=_EVICTION)
        )
        ctx.subresource = ""
        pod = (await scope.rest.newest(ctx.namespace, name)).obj
        if not _may_go_freely(pod):
            await self._ask_budget(ctx, pod)
        await scope.rest.delete(ctx, name, delete_options, admitted=True)
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return render.document(body, negotiation.Form(), 201)

    async def _ask_budget(self, ctx: Context, pod: Obj) -> None:
        budgets = [
            b for b in self._server.lister.list(POD_DISRUPTION_BUDGETS, ctx.namespace) if _covers(b, pod)
        ]
        if not budgets:
            return
        if len(budgets) > 1:
            raise errors.ApiError(
                500,
                "",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            )
        name = budgets[0]["metadata"]["name"]
        scope = self._server.router.scope("policy", "v1", "poddisruptionbudgets")
        assert scope is not None
        update = Context(ctx.world, ctx.lister, ctx.user, ctx.namespace, "status", ctx.dry_run, ctx.warnings)
        pod_name = pod["metadata"]["name"]
        now = ctx.world.timestamp()

        async def disrupt(old: Obj | None) -> Obj:
            if old is None:
                raise errors.not_found("policy", "poddisruptionbudgets", name)
            if not _has_ready(pod) and _lets_unhealthy_go(old):
                return old
            return _disrupted(old, pod_name, now)

        await scope.rest.update(update, name, disrupt, {})


def _covers(budget: Obj, pod: Obj) -> bool:
    selector = labels.from_label_selector(budget["spec"].get("selector"))
    return selector.matches(pod["metadata"].get("labels") or {})


def _may_go_freely(pod: Obj) -> bool:
    """Finished, pending or terminating pods need no budget."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def _has_ready(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _lets_unhealthy_go(budget: Obj) -> bool:
    """unhealthyPodEvictionPolicy (KEP-3017): AlwaysAllow, or IfHealthyBudget with enough healthy pods."""
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    return bool(status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0)


def _disrupted(budget: Obj, pod: str, now: str) -> Obj:
    name, status = budget["metadata"]["name"], dict(budget.get("status") or {})
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _refused(name, f"The disruption budget {name} is still being processed by the server.")
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise errors.forbidden("policy", "poddisruptionbudget", name, "pdb disruptions allowed is negative")
    disrupted = status.get("disruptedPods") or {}
    if len(disrupted) > _DISRUPTED_PODS_MAX:
        raise errors.forbidden(
            "policy",
            "poddisruptionbudget",
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        )
    if allowed == 0:
        healthy = (
            f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and has "
            f"{status.get('currentHealthy', 0)} currently"
        )
        raise _refused(name, healthy)
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**disrupted, pod: now}
    return {**budget, "metadata": dict(budget["metadata"]), "status": status}


def _refused(name: str, message: str) -> errors.ApiError:
    error = errors.too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
    error.details = {"causes": [{"reason": "DisruptionBudget", "message": message}]}
    if "still being processed" in message:
        error.details["retryAfterSeconds"] = _RETRY_AFTER_S
    return error
