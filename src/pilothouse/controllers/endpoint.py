"""Endpoints controller: the older form of a service's endpoints, kept for those who still read it
(k8s.io/kubernetes/pkg/controller/endpoint)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Any, ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import ENDPOINTS, PODS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of, split_key
from pilothouse.client.reconciler import Controller, Environment, is_terminating_namespace
from pilothouse.controllers import endpoints_rules as rules
from pilothouse.controllers.endpoint_slice import HEADLESS
from pilothouse.controllers.pods import is_ready
from pilothouse.controllers.trigger_times import TriggerTimes, annotated

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
LEADER = "control-plane.alpha.kubernetes.io/leader"
"""On endpoints that are the lock of an old leader election, and belong to no service."""
ADDRESSES_MAX = 1000


class EndpointsController(Controller):
    name: ClassVar[str] = "endpoints-controller"
    queue_name: ClassVar[str] = "endpoint"

    def __init__(self, env: Environment, *, batch_s: float = 0.0) -> None:
        """Changes of pods are gathered for `batch_s` (--endpoint-updates-batch-period)."""
        super().__init__(env)
        self._batch_s = batch_s

    def setup(self) -> None:
        self._services = self.watch(SERVICES)
        self._endpoints = self.informer(ENDPOINTS)
        self._endpoints.add_handler(_Deleted(self))
        self._pods = self.watch(PODS, keys=self._services_of, changed=rules.changed, delay_s=self._batch_s)
        self._pods.add_index("namespace", lambda pod: (pod["metadata"]["namespace"],))
        self._triggers = TriggerTimes()

    async def run(self) -> None:
        """Begins with what services left behind that went while nobody looked (checkLeftoverEndpoints)."""
        await asyncio.gather(self._endpoints.synced(), self._services.synced())
        for found in self._endpoints.list():
            if LEADER not in (found["metadata"].get("annotations") or {}):
                self.queue.add(key_of(found))
        await super().run()

    def _services_of(self, pod: Obj) -> Iterable[str]:
        return [key_of(s) for s in self._services.list() if rules.belongs(pod, s)]

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        if service is None:
            self._triggers.forget(key)
            await self._delete(key)
        elif service["spec"].get("selector") and service["spec"].get("type") != "ExternalName":
            await self._sync(key, service)
        return None

    async def _sync(self, key: str, service: Obj) -> None:
        pods = self._pods.by_index("namespace", service["metadata"]["namespace"])
        pods = [pod for pod in pods if rules.belongs(pod, service)]
        time = self._triggers.observe(key, service, pods)
        wanted, present = subsets(service, pods), self._endpoints.get(key)
        labels = _labels(service)
        if present is not None and _is_right(present, wanted, labels):
            return
        meta: Obj = {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"]}
        if present is not None:
            meta = present["metadata"]
        annotations = annotated(meta.get("annotations"), time)
        wanted, is_truncated = truncated(wanted)
        annotations.pop(OVER_CAPACITY, None)
        if is_truncated:
            annotations[OVER_CAPACITY] = "truncated"
        meta = {**meta, "labels": labels, "annotations": annotations}
        body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": wanted}
        await self._write(service, body, new=present is None)

    async def _write(self, service: Obj, body: Obj, *, new: bool) -> None:
        meta = service["metadata"]
        try:
            if new:
                await self.client.create(ENDPOINTS, body, meta["namespace"])
            else:
                await self.client.update(ENDPOINTS, body)
        except ApiError as error:
            if new and is_terminating_namespace(error):
                return
            verb, what = ("Create", "create endpoint for service") if new else ("Update", "update endpoint")
            message = f"Failed to {what} {meta['namespace']}/{meta['name']}: {error}"
            self.recorder.event(body, "Warning", f"FailedTo{verb}Endpoint", message)
            raise

    async def _delete(self, key: str) -> None:
        """The service's endpoints go with it, whoever wrote them."""
        if self._endpoints.get(key) is None:
            return
        namespace, name = split_key(key)
        try:
            await self.client.delete(ENDPOINTS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise

    def deleted(self, endpoints: Obj) -> None:
        """They are made again if their service is still there."""
        if self._services.get(key_of(endpoints)) is not None:
            self.queue.add(key_of(endpoints))


class _Deleted:
    def __init__(self, controller: EndpointsController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        """Their services tell what they must be."""

    def on_update(self, old: Obj, new: Obj) -> None:
        """The same; what somebody wrote stands until something else changes."""

    def on_delete(self, obj: Obj) -> None:
        self._controller.deleted(obj)


def subsets(service: Obj, pods: Iterable[Obj]) -> list[Obj]:
    """Addresses grouped by their ports, ready and not ready apart (RepackSubsets)."""
    spec = service["spec"]
    eager = bool(spec.get("publishNotReadyAddresses"))
    family = (spec.get("ipFamilies") or ["IPv4"])[0]
    groups: dict[tuple[Any, ...], tuple[list[Obj], list[Obj]]] = {}
    for pod in pods:
        if not rules.should_be_in(pod, include_terminating=eager):
            continue
        ports, ips = rules.ports_of(pod, service), rules.addresses(pod, family)
        if not ips or (not ports and (spec.get("ports") or not rules.is_headless(service))):
            continue
        key = tuple(tuple(sorted(p.items())) for p in ports)
        ready, not_ready = groups.setdefault(key, ([], []))
        (ready if eager or is_ready(pod) else not_ready).append(_address(pod, service, ips[0]))
    return [_subset(key, *addresses) for key, addresses in sorted(groups.items())]


def _subset(key: tuple[Any, ...], ready: list[Obj], not_ready: list[Obj]) -> Obj:
    subset: Obj = {}
    for field, addresses in (("addresses", ready), ("notReadyAddresses", not_ready)):
        if addresses:
            subset[field] = sorted(addresses, key=lambda a: (a["ip"], a["targetRef"]["uid"]))
    ports = [{k: v for k, v in p if v or k != "name"} for p in key]
    return {**subset, "ports": ports} if ports else subset


def truncated(wanted: list[Obj]) -> tuple[list[Obj], bool]:
    """No more than 1,000 addresses, ready ones first, and whether some are left out. Each subset keeps its share,
    rounded up, so that the last one may get less (truncateEndpoints)."""
    ready, not_ready = _count(wanted, "addresses"), _count(wanted, "notReadyAddresses")
    if ready + not_ready <= ADDRESSES_MAX:
        return wanted, False
    field = "addresses" if ready > ADDRESSES_MAX else "notReadyAddresses"
    total = ready if ready > ADDRESSES_MAX else not_ready
    room = left = ADDRESSES_MAX if ready > ADDRESSES_MAX else ADDRESSES_MAX - ready
    kept = []
    for subset in wanted:
        found = subset.get(field) or []
        share = min(math.ceil(len(found) / total * room), left)
        left -= min(share, len(found))
        rest = {k: v for k, v in subset.items() if k not in (field, "notReadyAddresses")}
        kept.append({**rest, field: found[:share]} if share else rest)
    return kept, True


def _count(wanted: Iterable[Obj], field: str) -> int:
    return sum(len(subset.get(field) or ()) for subset in wanted)


def _labels(service: Obj) -> Obj:
    labels = {k: v for k, v in (service["metadata"].get("labels") or {}).items() if k != HEADLESS}
    if rules.is_headless(service):
        labels[HEADLESS] = ""
    return {**labels, MANAGED_BY: CONTROLLER}


def _address(pod: Obj, service: Obj, ip: str) -> Obj:
    address: Obj = {"ip": ip}
    hostname = pod["spec"].get("hostname")
    if hostname and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        address["hostname"] = hostname
    if pod["spec"].get("nodeName"):
        address["nodeName"] = pod["spec"]["nodeName"]
    address["targetRef"] = rules.target(pod)
    return address


def _is_right(present: Obj, wanted: list[Obj], labels: Obj) -> bool:
    over = OVER_CAPACITY in (present["metadata"].get("annotations") or {})
    same = (present.get("subsets") or []) == wanted and present["metadata"].get("labels") == labels
    return same and not over
