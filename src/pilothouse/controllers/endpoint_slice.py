"""EndpointSlice controller: where a service's pods are, in slices of at most 100
(k8s.io/kubernetes/pkg/controller/endpointslice and staging endpointslice/reconciler.go)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import (
    Controller,
    TryAgain,
    controller_ref,
    is_terminating_namespace,
)
from pilothouse.controllers import endpoints_rules as rules
from pilothouse.controllers.pods import is_terminating
from pilothouse.controllers.slice_packing import pack
from pilothouse.controllers.trigger_times import TriggerTimes, annotated

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
SLICE_MAX = 100
_CLOSE = ("PreferClose", "PreferSameZone", "PreferSameNode")
_ZONE = "topology.kubernetes.io/zone"

Ports = tuple[Any, ...]
"""Resolved ports, as something to group by."""


class EndpointSliceController(Controller):
    name: ClassVar[str] = "endpointslice-controller"
    queue_name: ClassVar[str] = "endpoint_slice"

    def setup(self) -> None:
        self._services = self.watch(SERVICES)
        self._slices = self.watch(ENDPOINT_SLICES, keys=_service_of_slice)
        self._slices.add_index("service", _service_of_slice)
        self._pods = self.watch(PODS, keys=self._services_of, changed=rules.changed)
        self._pods.add_index("namespace", lambda pod: (pod["metadata"]["namespace"],))
        self._nodes = self.informer(NODES)
        self._triggers = TriggerTimes()

    def _services_of(self, pod: Obj) -> Iterable[str]:
        return [key_of(s) for s in self._services.list() if rules.belongs(pod, s)]

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        if service is None:
            self._triggers.forget(key)
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None
        slices = [s for s in self._slices.by_index("service", key) if _is_ours(s) and not is_terminating(s)]
        try:
            await self._sync(key, service, sorted(slices, key=lambda s: str(s["metadata"]["name"])))
        except (ApiError, TryAgain) as error:
            message = f"Error updating Endpoint Slices for Service {key}: {error}"
            typed = {**service, "apiVersion": "v1", "kind": "Service"}
            self.recorder.event(typed, "Warning", "FailedToUpdateEndpointSlices", message)
            raise
        return None

    async def _sync(self, key: str, service: Obj, slices: list[Obj]) -> None:
        pods = self._pods.by_index("namespace", service["metadata"]["namespace"])
        pods = [pod for pod in pods if rules.belongs(pod, service)]
        write = _Writer(self, service, self._triggers.observe(key, service, pods))
        families = service["spec"].get("ipFamilies") or ["IPv4"]
        for found in slices:
            if found["addressType"] not in families:
                await write.delete(found)
        for family in families:
            plan = _Plan(service, family, [s for s in slices if s["addressType"] == family])
            plan.make(self._wanted(service, family, pods))
            await write.all(plan)
        self._check_nodes(service, pods)

    def _check_nodes(self, service: Obj, pods: Iterable[Obj]) -> None:
        """A pod whose node is not known is left out, and looked at again."""
        for pod in pods:
            if self._is_lost(pod, service) and rules.should_be_in(pod, include_terminating=True):
                meta = service["metadata"]
                raise TryAgain(
                    f"skipping Pod {pod['metadata']['name']} for Service {meta['namespace']}/{meta['name']}: "
                    f"Node {pod['spec'].get('nodeName', '')} Not Found"
                )

    def _is_lost(self, pod: Obj, service: Obj) -> bool:
        if service["spec"].get("publishNotReadyAddresses"):
            return False
        return self._nodes.get(pod["spec"].get("nodeName", "")) is None

    def _wanted(self, service: Obj, family: str, pods: Iterable[Obj]) -> dict[Ports, list[Obj]]:
        """Endpoints grouped by their resolved ports."""
        groups: dict[Ports, list[Obj]] = {}
        for pod in pods:
            if not rules.should_be_in(pod, include_terminating=True):
                continue
            endpoints = groups.setdefault(_port_key(rules.ports_of(pod, service)), [])
            addresses = rules.addresses(pod, family)
            if addresses and not self._is_lost(pod, service):
                endpoints.append(self._endpoint(pod, service, addresses))
        for endpoints in groups.values():
            endpoints.sort(key=lambda e: e["addresses"])
        return groups

    def _endpoint(self, pod: Obj, service: Obj, addresses: list[str]) -> Obj:
        endpoint: Obj = {
            "addresses": addresses,
            "conditions": rules.conditions(pod, service),
            "targetRef": rules.target(pod),
        }
        node_name = pod["spec"].get("nodeName")
        if node_name:
            endpoint["nodeName"] = node_name
            node = self._nodes.get(node_name)
            zone = ((node or {}).get("metadata") or {}).get("labels", {}).get(_ZONE)
            if zone:
                endpoint["zone"] = zone
        hostname = pod["spec"].get("hostname")
        if hostname and pod["spec"].get("subdomain") == service["metadata"]["name"]:
            endpoint["hostname"] = hostname
        hints = _hints(endpoint, service)
        return {**endpoint, "hints": hints} if hints else endpoint


class _Plan:
    """What must become of a service's slices of one family."""

    def __init__(self, service: Obj, family: str, present: list[Obj]) -> None:
        self._service = service
        self.family = family
        self._present = present
        self.labels = _labels(service)
        self.create: list[tuple[Ports, list[Obj]]] = []
        self.update: list[tuple[Obj, Ports, list[Obj]]] = []
        self.delete: list[Obj] = []

    def make(self, wanted: dict[Ports, list[Obj]]) -> None:
        by_ports: dict[Ports, list[Obj]] = {}
        for found in self._present:
            if self._owns(found):
                by_ports.setdefault(_port_key(found.get("ports")), []).append(found)
            else:
                self.delete.append(found)
        for ports, endpoints in wanted.items():
            packed = pack(by_ports.pop(ports, ()), endpoints, SLICE_MAX)
            self.create += [(ports, chunk) for chunk in packed.create]
            self.update += [(found, ports, chunk) for found, chunk in packed.update]
            self.delete += packed.delete
            for found in packed.keep:
                if found["metadata"].get("labels") != self.labels:
                    self.update.append((found, ports, found.get("endpoints") or []))
        for unwanted in by_ports.values():
            self.delete += unwanted
        self._place_holder()
        self._reuse()

    def _owns(self, found: Obj) -> bool:
        refs = found["metadata"].get("ownerReferences") or ()
        return any(ref["uid"] == self._service["metadata"]["uid"] for ref in refs)

    def _place_holder(self) -> None:
        """A service without endpoints has one slice that says so."""
        if self.create or len(self.delete) < len(self._present):
            return
        if len(self.delete) == 1 and self._is_place_holder(self.delete[0]):
            self.delete.clear()
        else:
            self.create.append(((), []))

    def _is_place_holder(self, found: Obj) -> bool:
        is_empty = not found.get("endpoints") and not found.get("ports")
        return is_empty and self._owns(found) and found["metadata"].get("labels") == self.labels

    def _reuse(self) -> None:
        """Slices that would go are written anew instead of making others."""
        for found in [s for s in self.delete if self._owns(s)]:
            if self.create:
                self.update.append((found, *self.create.pop()))
                self.delete.remove(found)


class _Writer:
    """Carries out plans for one service. `time` is what set off the change, "" when that is not known."""

    def __init__(self, controller: EndpointSliceController, service: Obj, time: str) -> None:
        self._client = controller.client
        self._service = service
        self._time = time

    async def all(self, plan: _Plan) -> None:
        if not is_terminating(self._service):  # the garbage collector would delete what is made now
            for ports, endpoints in plan.create:
                if not await self._create(plan, ports, endpoints):
                    return
        for found, ports, endpoints in plan.update:
            await self._update(found, plan, ports, endpoints)
        for found in plan.delete:
            await self.delete(found)

    async def _create(self, plan: _Plan, ports: Ports, endpoints: list[Obj]) -> bool:
        """False in a namespace that is going."""
        meta = self._service["metadata"]
        body: Obj = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": f"{meta['name']}-",
                "namespace": meta["namespace"],
                "labels": plan.labels,
                "annotations": annotated(None, self._time),
                "ownerReferences": [controller_ref(self._service, SERVICES)],
            },
            "addressType": plan.family,
            "endpoints": endpoints,
            "ports": [dict(p) for p in ports] or None,
        }
        try:
            await self._client.create(ENDPOINT_SLICES, body, meta["namespace"])
        except ApiError as error:
            if is_terminating_namespace(error):
                return False
            raise
        return True

    async def _update(self, found: Obj, plan: _Plan, ports: Ports, endpoints: list[Obj]) -> None:
        meta = found["metadata"]
        annotations = annotated(meta.get("annotations"), self._time)
        body = {
            **found,
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": plan.labels, "annotations": annotations},
            "endpoints": endpoints,
            "ports": [dict(p) for p in ports] or None,
        }
        await self._client.update(ENDPOINT_SLICES, body)

    async def delete(self, found: Obj) -> None:
        meta = found["metadata"]
        try:
            await self._client.delete(ENDPOINT_SLICES, meta["name"], meta["namespace"])
        except ApiError as error:
            if error.code != 404:
                raise


def _labels(service: Obj) -> Obj:
    labels = {
        k: v
        for k, v in (service["metadata"].get("labels") or {}).items()
        if k not in (MANAGED_BY, SERVICE_LABEL, HEADLESS)
    }
    if rules.is_headless(service):
        labels[HEADLESS] = ""
    return {**labels, MANAGED_BY: CONTROLLER, SERVICE_LABEL: service["metadata"]["name"]}


def _hints(endpoint: Obj, service: Obj) -> Obj:
    """Where a ready endpoint's traffic should come from (trafficDistribution: KEP-4444, KEP-3015). With the older
    annotation the field counts for nothing."""
    annotations = service["metadata"].get("annotations") or {}
    wish = service["spec"].get("trafficDistribution")
    if wish not in _CLOSE or not endpoint["conditions"]["ready"] or _topology_aware(annotations):
        return {}
    hints: Obj = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wish == "PreferSameNode" and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints


def _topology_aware(annotations: Obj) -> bool:
    value = annotations.get("service.kubernetes.io/topology-mode")
    if value is None:
        value = annotations.get("service.kubernetes.io/topology-aware-hints", "")
    return value in ("Auto", "auto")


def _port_key(ports: list[Obj] | None) -> Ports:
    return tuple(tuple(sorted(p.items())) for p in ports or ())


def _service_of_slice(found: Obj) -> Iterable[str]:
    name = (found["metadata"].get("labels") or {}).get(SERVICE_LABEL)
    return (f"{found['metadata']['namespace']}/{name}",) if name else ()


def _is_ours(found: Obj) -> bool:
    return (found["metadata"].get("labels") or {}).get(MANAGED_BY) == CONTROLLER
