"""EndpointSlice controller: where a service's pods are, in slices of at most 100 (--max-endpoints-per-slice)
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
    Environment,
    TryAgain,
    controller_ref,
    is_terminating_namespace,
)
from pilothouse.controllers import endpoints_rules as rules
from pilothouse.controllers import topology_hints
from pilothouse.controllers.consistency import Consistency
from pilothouse.controllers.pods import is_terminating
from pilothouse.controllers.slice_metrics import Done, SliceMetrics
from pilothouse.controllers.slice_packing import identity, pack
from pilothouse.controllers.trigger_times import TriggerTimes, annotated

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
SLICE_MAX = 100
_CLOSE = ("PreferClose", "PreferSameZone", "PreferSameNode")

Ports = tuple[Any, ...]
"""Resolved ports, as something to group by."""


class EndpointSliceController(Controller):
    name: ClassVar[str] = "endpointslice-controller"
    queue_name: ClassVar[str] = "endpoint_slice"

    def __init__(self, env: Environment, *, slice_max: int = SLICE_MAX, batch_s: float = 0.0) -> None:
        """Changes of pods and slices are gathered for `batch_s` (--endpointslice-updates-batch-period)."""
        super().__init__(env)
        self._batch_s = batch_s
        self._metrics = SliceMetrics(env.metrics, slice_max)
        self._slice_max = slice_max

    def setup(self) -> None:
        self._services = self.watch(SERVICES)
        self._slices = self.watch(ENDPOINT_SLICES, keys=_service_of_slice, delay_s=self._batch_s)
        self._slices.add_index("service", _service_of_slice)
        self._pods = self.watch(PODS, keys=self._services_of, changed=rules.changed, delay_s=self._batch_s)
        self._pods.add_index("namespace", lambda pod: (pod["metadata"]["namespace"],))
        self.consistency = Consistency(self.world, {ENDPOINT_SLICES: self._slices})
        self._nodes = self.watch(NODES, keys=self._by_topology, changed=_node_changed)
        self._hinted: set[str] = set()
        """Services whose endpoints have hints by their nodes' zones, as it was told last."""
        self._triggers = TriggerTimes()

    def _services_of(self, pod: Obj) -> Iterable[str]:
        return [key_of(s) for s in self._services.list() if rules.belongs(pod, s)]

    def _by_topology(self, node: Obj) -> Iterable[str]:
        """Services that spread over zones are looked at when nodes come, go, or change in size or place."""
        return [key_of(s) for s in self._services.list() if topology_hints.is_wanted(s)]

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        if service is None:
            self._triggers.forget(key)
            self._hinted.discard(key)
            self._metrics.forget(key)
            self.consistency.forget(key)
            return None
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return None
        if not self.consistency.ready(key):
            self._metrics.synced("stale")
            return None
        slices = [s for s in self._slices.by_index("service", key) if _is_ours(s) and not is_terminating(s)]
        try:
            await self._sync(key, service, sorted(slices, key=lambda s: str(s["metadata"]["name"])))
        except (ApiError, TryAgain) as error:
            message = f"Error updating Endpoint Slices for Service {key}: {error}"
            typed = {**service, "apiVersion": "v1", "kind": "Service"}
            self.recorder.event(typed, "Warning", "FailedToUpdateEndpointSlices", message)
            self._metrics.synced("error")
            raise
        self._metrics.synced("success")
        return None

    async def _sync(self, key: str, service: Obj, slices: list[Obj]) -> None:
        pods = self._pods.by_index("namespace", service["metadata"]["namespace"])
        pods = [pod for pod in pods if rules.belongs(pod, service)]
        write = _Writer(self, service, self._triggers.observe(key, service, pods))
        families = service["spec"].get("ipFamilies") or ["IPv4"]
        done = Done(service, topology_hints.is_wanted(service))
        for found in slices:
            if found["addressType"] not in families:
                await write.delete(found)
                done.deleted.append(found)
        for family in families:
            present = [s for s in slices if s["addressType"] == family]
            plan = _Plan(service, family, present, self._slice_max)
            wanted = self._wanted(service, family, pods)
            plan.make(self._with_zones(service, family, wanted, present))
            await write.all(plan)
            done.wanted += [len(endpoints) for endpoints in wanted.values()]
            done.slices += len(present) + len(plan.create) - len(plan.delete)
            done.created += [len(endpoints) for _, endpoints in plan.create]
            done.updated += [(found, endpoints) for found, _, endpoints in plan.update]
            done.deleted += plan.delete
        self._metrics.wrote(key, done)
        self._check_nodes(service, pods)

    def _with_zones(
        self, service: Obj, family: str, wanted: dict[Ports, list[Obj]], present: list[Obj]
    ) -> dict[Ports, list[Obj]]:
        """The same endpoints with the zones they serve, for a service that asks for topology-aware routing."""
        key = key_of(service)
        if not topology_hints.is_wanted(service):
            if key in self._hinted:
                self._tell_hints(service, family, "Warning", topology_hints.DISABLED)
            return wanted
        before = {
            (_port_key(s.get("ports")), identity(e)): _zone_served(e)
            for s in present
            for e in s.get("endpoints") or ()
        }
        ready = [(ports, e) for ports, found in wanted.items() for e in found if e["conditions"]["ready"]]
        places = [(e.get("zone") or "", before.get((ports, identity(e)), "")) for ports, e in ready]
        try:
            served = topology_hints.assign(places, topology_hints.ratios(self._nodes.list()))
        except topology_hints.NoHints as why:
            self._tell_hints(service, family, "Warning", str(why))
            return wanted
        if key not in self._hinted:
            self._tell_hints(service, family, "Normal", topology_hints.ENABLED)
        zones = {id(endpoint): zone for (_, endpoint), zone in zip(ready, served, strict=True)}
        return {
            ports: [
                {**e, "hints": {"forZones": [{"name": zones[id(e)]}]}} if id(e) in zones else e for e in found
            ]
            for ports, found in wanted.items()
        }

    def _tell_hints(self, service: Obj, family: str, type: str, message: str) -> None:
        on = type == "Normal"
        (self._hinted.add if on else self._hinted.discard)(key_of(service))
        reason = "TopologyAwareHintsEnabled" if on else "TopologyAwareHintsDisabled"
        self.tell(SERVICES, service, type, reason, f"{message}, addressType: {family}")

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
            zone = ((node or {}).get("metadata") or {}).get("labels", {}).get(topology_hints.ZONE)
            if zone:
                endpoint["zone"] = zone
        hostname = pod["spec"].get("hostname")
        if hostname and pod["spec"].get("subdomain") == service["metadata"]["name"]:
            endpoint["hostname"] = hostname
        hints = _hints(endpoint, service)
        return {**endpoint, "hints": hints} if hints else endpoint


class _Plan:
    """What must become of a service's slices of one family."""

    def __init__(self, service: Obj, family: str, present: list[Obj], slice_max: int) -> None:
        self._slice_max = slice_max
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
            packed = pack(by_ports.pop(ports, ()), endpoints, self._slice_max)
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
        self._consistency = controller.consistency
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
            made = await self._client.create(ENDPOINT_SLICES, body, meta["namespace"])
        except ApiError as error:
            if is_terminating_namespace(error):
                return False
            raise
        self._note(made)
        return True

    def _note(self, answer: Obj) -> None:
        self._consistency.wrote(key_of(self._service), ENDPOINT_SLICES, answer)

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
        self._note(await self._client.update(ENDPOINT_SLICES, body))

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
    wish = service["spec"].get("trafficDistribution")
    if wish not in _CLOSE or not endpoint["conditions"]["ready"] or topology_hints.is_wanted(service):
        return {}
    hints: Obj = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wish == "PreferSameNode" and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return hints


def _zone_served(endpoint: Obj) -> str:
    zones: list[Obj] = (endpoint.get("hints") or {}).get("forZones") or []
    return str(zones[0]["name"]) if len(zones) == 1 else ""


def _node_changed(old: Obj, new: Obj) -> bool:
    return topology_hints.node_facts(old) != topology_hints.node_facts(new)


def _port_key(ports: list[Obj] | None) -> Ports:
    return tuple(tuple(sorted(p.items())) for p in ports or ())


def _service_of_slice(found: Obj) -> Iterable[str]:
    name = (found["metadata"].get("labels") or {}).get(SERVICE_LABEL)
    return (f"{found['metadata']['namespace']}/{name}",) if name else ()


def _is_ours(found: Obj) -> bool:
    return (found["metadata"].get("labels") or {}).get(MANAGED_BY) == CONTROLLER
