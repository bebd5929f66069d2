"""When metrics.k8s.io is served here, and what it answers.

The APIService v1beta1.metrics.k8s.io decides, on every server of a store alike:

    none, or one with a service (a metrics-server of somebody's own)  ──▶  not served
    one without a service                                             ──▶  served

`announce` makes the one without a service, and the role that lets people read; `retire` takes it away. Whoever gives
it a service has the group from then on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING

from pilothouse.api import errors, fields, labels
from pilothouse.api.catalog import Served
from pilothouse.api.field import go_quote
from pilothouse.api.kubelet import ContainerUse, Usages
from pilothouse.api.resources import CLUSTER_ROLES, NODES, PODS, Resource
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.customresources.registration import API_SERVICES
from pilothouse.apiserver.endpoints import negotiation, render
from pilothouse.apiserver.endpoints.negotiation import JSON, Form
from pilothouse.apiserver.endpoints.options import list_options
from pilothouse.apiserver.registry.following import follow
from pilothouse.apiserver.registry.kind import Decoded, Kind
from pilothouse.apiserver.registry.strategy import Strategy
from pilothouse.apiserver.registry.tables.column import Table
from pilothouse.apiserver.request import Request, RequestInfo, Response
from pilothouse.apiserver.resource_metrics import answers

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

log = logging.getLogger(__name__)

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
NAME = f"{VERSION}.{GROUP}"
POD_METRICS = Resource(GROUP, VERSION, "pods", "PodMetrics")
NODE_METRICS = Resource(GROUP, VERSION, "nodes", "NodeMetrics", False)
_VERBS = ("get", "list")
_RETRY_S = 1.0
_LABEL = "kube-aggregator.kubernetes.io/automanaged"
_READER = "system:aggregated-metrics-reader"
_FIELDS = ("metadata.name", "metadata.namespace")


def _served(resource: Resource) -> Served:
    return Served(resource, "", _VERBS)


def _kind(resource: Resource, table: Table) -> Kind:
    return Kind(
        resource=resource,
        singular="",
        list_kind=f"{resource.kind}List",
        type=Type("any"),
        strategy=Strategy(),
        decode=lambda value: Decoded(value, []),
        default=lambda obj: None,
        storage=resource,
        table=table,
        verbs=frozenset(_VERBS),
        go_name=f"metrics.{resource.kind}",
    )


_KINDS = {
    "pods": _kind(POD_METRICS, answers.PODS),
    "nodes": _kind(NODE_METRICS, answers.NODES),
}


class ResourceMetrics:
    """Of one server. `usages` knows what containers use."""

    def __init__(self, server: ApiServer, usages: Usages) -> None:
        self._server = server
        self._world = server.world
        self._lister = server.lister
        self._usages = usages
        self._documents = [_served(POD_METRICS), _served(NODE_METRICS)]
        self._on = False
        self._tasks: list[asyncio.Task[None]] = []

    # -- life -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Serve while the APIService says so."""
        self._run(self._follow(), "resource metrics")

    def announce(self) -> None:
        """Have it served, unless somebody else serves it."""
        self._run(self._announce(), "announcing resource metrics")

    def retire(self) -> None:
        """Have it served no longer."""
        self._run(self._retire(), "retiring resource metrics")

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(_log_crash)
        self._tasks = [t for t in self._tasks if not t.done()] + [task]

    async def _announce(self) -> None:
        while True:
            try:
                await self._server.objects.make(CLUSTER_ROLES, _reader())
                await self._server.objects.make(API_SERVICES, _api_service())
            except errors.ApiError as error:
                log.warning("%s is not announced: %s; trying again", NAME, error)
                await self._world.clock.sleep(_RETRY_S)
            else:
                return

    async def _retire(self) -> None:
        if not _is_ours(self._lister.get(API_SERVICES, NAME)):
            return
        try:
            await self._server.objects.delete(API_SERVICES, NAME)
            await self._server.objects.delete(CLUSTER_ROLES, _READER)
        except errors.ApiError as error:
            log.warning("%s is still announced: %s", NAME, error)

    async def _follow(self) -> None:
        scope = self._server.router.scope(API_SERVICES.group, API_SERVICES.version, API_SERVICES.plural)
        if scope is not None:
            await follow(scope.rest.store, self._world, self._settle)

    async def _settle(self) -> None:
        """Serve or not, as the APIService is now."""
        wanted = _is_ours(self._lister.get(API_SERVICES, NAME))
        if wanted == self._on:
            return
        self._on = wanted
        for served in self._documents:
            if wanted:
                self._server.router.add_computed(served.resource, self.handle)
                self._server.discovery.add(served)
                self._server.openapi.add(served, answers.SCHEMAS[served.resource.kind])
            else:
                self._server.router.remove_computed(served.resource)
                self._server.discovery.remove(served)
                self._server.openapi.remove(served)

    # -- requests ---------------------------------------------------------------------------------------

    async def handle(self, request: Request) -> Response:
        info = request.info
        kind = _KINDS[info.resource]
        if len(info.parts) > 2 or bool(info.namespace) > kind.resource.namespaced:
            raise errors.resource_not_found()
        if info.verb == "list":
            return self._list(request, kind)
        if info.verb != "get":
            raise errors.method_not_supported()
        if kind.resource.namespaced and not info.namespace:
            raise errors.resource_not_found()
        form = negotiation.form_of(request)
        return render.one(request, kind, self._get(info), None, form)

    def _get(self, info: RequestInfo) -> Obj:
        resource, name = (PODS if info.resource == "pods" else NODES), info.name
        obj = self._lister.get(resource, name, info.namespace)
        if obj is None:
            raise errors.not_found("", resource.plural, name)
        found = self._pods([obj]) if resource is PODS else self._nodes([obj])
        if not found:
            kind = "podmetrics" if resource is PODS else "nodemetrics"
            raise errors.not_found(GROUP, kind, f"{info.namespace}/{name}" if info.namespace else name)
        return found[0]

    def _list(self, request: Request, kind: Kind) -> Response:
        form = negotiation.form_of(request)
        options = list_options(request, watch=False)
        by_label, by_field = options.label_selector, options.field_selector
        _check_fields(by_field)
        resource = PODS if kind.resource is POD_METRICS else NODES
        selected = [
            obj
            for obj in self._lister.list(resource, request.info.namespace)
            if _is_selected(obj, by_label, by_field)
        ]
        selected.sort(key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))
        objects = self._pods(selected) if resource is PODS else self._nodes(selected)
        return _answer(request, kind, objects, form)

    # -- figures ----------------------------------------------------------------------------------------

    def _pods(self, pods: Iterable[Obj]) -> list[Obj]:
        """Of those that run on a node that answers."""
        now = self._world.timestamp()
        nodes: dict[str, Obj | None] = {}
        found = []
        for pod in pods:
            uses = self._uses(pod, nodes)
            if uses:
                found.append(answers.pod_metrics(pod, uses, now))
        return found

    def _nodes(self, nodes: Iterable[Obj]) -> list[Obj]:
        now = self._world.timestamp()
        wanted = {node["metadata"]["name"]: node for node in nodes if answers.is_scraped(node)}
        uses: dict[str, list[ContainerUse]] = {name: [] for name in wanted}
        known: dict[str, Obj | None] = dict(wanted)
        for pod in self._lister.list(PODS) if wanted else ():
            name = pod["spec"].get("nodeName", "")
            if name in wanted:
                uses[name] += self._uses(pod, known)
        return [answers.node_metrics(node, uses[name], now) for name, node in wanted.items()]

    def _uses(self, pod: Obj, nodes: dict[str, Obj | None]) -> list[ContainerUse]:
        name = pod["spec"].get("nodeName", "")
        if not name or (pod.get("status") or {}).get("phase") != "Running":
            return []
        if name not in nodes:
            nodes[name] = self._lister.get(NODES, name)
        node = nodes[name]
        return self._usages.of(pod, node) if answers.is_scraped(node) else []


def _answer(request: Request, kind: Kind, objects: list[Obj], form: Form) -> Response:
    meta: Obj = {}
    if form.target == "Table":
        # Columns come from the first row, so that an empty table has none.
        found = render.table(request, kind, objects, meta, form, columns=bool(objects))
        return render.document(found, form)
    if form.target == "PartialObjectMetadataList":
        items = [render.partial(obj, form.target_version) for obj in objects]
        head = {"kind": form.target, "apiVersion": f"meta.k8s.io/{form.target_version}", "metadata": meta}
        return render.document({**head, "items": items}, form)
    if form.target:
        raise errors.not_acceptable(f"you requested {form.target}, but the requested object is a list")
    items = [{k: v for k, v in obj.items() if k not in ("kind", "apiVersion")} for obj in objects]
    head = {"kind": kind.list_kind, "apiVersion": kind.resource.group_version, "metadata": meta}
    body = {**head, "items": items}
    if request.in_process:
        return Response(200, b"", {"Content-Type": JSON}, obj=body)
    return render.document(body, form)


def _is_selected(obj: Obj, by_label: labels.Selector | None, by_field: fields.Selector | None) -> bool:
    meta = obj["metadata"]
    if by_label is not None and not by_label.matches(meta.get("labels") or {}):
        return False
    if by_field is None:
        return True
    return by_field.matches({"metadata.name": meta["name"], "metadata.namespace": meta.get("namespace", "")})


def _check_fields(selector: fields.Selector | None) -> None:
    """400 for a field that is none of an object's own."""
    for name in selector.field_names() if selector is not None else ():
        if name not in _FIELDS:
            only = ", ".join(go_quote(n) for n in _FIELDS)
            raise errors.bad_request(f"{go_quote(name)} is not a known field selector: only {only}")


def _is_ours(api_service: Obj | None) -> bool:
    return api_service is not None and api_service["spec"].get("service") is None


def _api_service() -> Obj:
    """With metrics-server's priorities."""
    return {
        "kind": "APIService",
        "apiVersion": API_SERVICES.group_version,
        "metadata": {"name": NAME, "labels": {_LABEL: "onstart"}},
        "spec": {"group": GROUP, "version": VERSION, "groupPriorityMinimum": 100, "versionPriority": 100},
    }


def _reader() -> Obj:
    """As metrics-server ships it."""
    prefix = "rbac.authorization.k8s.io/aggregate-to"
    roles = {f"{prefix}-{role}": "true" for role in ("admin", "edit", "view")}
    return {
        "kind": "ClusterRole",
        "apiVersion": CLUSTER_ROLES.group_version,
        "metadata": {"name": _READER, "labels": {"k8s-app": "metrics-server", **roles}},
        "rules": [{"verbs": ["get", "list", "watch"], "apiGroups": [GROUP], "resources": ["pods", "nodes"]}],
    }


def _log_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s ended", task.get_name(), exc_info=task.exception())
