"""EndpointSlice controller: where a service's pods are, in slices of at most 100
(k8s.io/kubernetes/pkg/controller/endpointslice and staging endpointslice/reconciler.go)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.controllers import endpoints_rules as rules
from pilothouse.controllers.reconciler import Controller, controller_ref

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
SLICE_MAX = 100
_ZONE = "topology.kubernetes.io/zone"


class EndpointSliceController(Controller):
    name: ClassVar[str] = "endpointslice-controller"

    def setup(self) -> None:
        self._services = self.watch(SERVICES)
        self._slices = self.watch(ENDPOINT_SLICES, keys=_service_of_slice)
        self._slices.add_index("service", _service_of_slice)
        self._pods = self.watch(PODS, keys=self._services_of, changed=rules.changed)
        self._pods.add_index("namespace", lambda pod: (pod["metadata"]["namespace"],))
        self._nodes = self.informer(NODES)

    def _services_of(self, pod: Obj) -> Iterable[str]:
        return [key_of(s) for s in self._services.list() if rules.belongs(pod, s)]

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        slices = [s for s in self._slices.by_index("service", key) if _is_ours(s)]
        if service is None or not service["spec"].get("selector"):
            return None
        if service["spec"].get("type") == "ExternalName" or service["metadata"].get("deletionTimestamp"):
            return None
        for family in service["spec"].get("ipFamilies") or ["IPv4"]:
            mine = [s for s in slices if s["addressType"] == family]
            await self._sync(service, family, mine)
        return None

    async def _sync(self, service: Obj, family: str, present: list[Obj]) -> None:
        """Bring the slices to what the pods say, changing as few as possible."""
        wanted = self._wanted(service, family)
        placeholder: tuple[Any, ...] = ()
        if not wanted:
            wanted = {placeholder: []}
        spare = sorted(present, key=lambda s: s["metadata"]["name"])
        for ports_key, endpoints in wanted.items():
            ports = [dict(p) for p in ports_key] if ports_key else None
            chunks = [endpoints[i : i + SLICE_MAX] for i in range(0, len(endpoints), SLICE_MAX)] or [[]]
            for chunk in chunks:
                match = _take(spare, ports, chunk)
                if match is None:
                    await self._create(service, family, ports, chunk)
                else:
                    await self._update(match, service, ports, chunk)
        for leftover in spare:
            await self._delete(leftover)

    def _wanted(self, service: Obj, family: str) -> dict[tuple[Any, ...], list[Obj]]:
        """Endpoints grouped by their resolved ports."""
        groups: dict[tuple[Any, ...], list[Obj]] = {}
        for pod in self._pods.by_index("namespace", service["metadata"]["namespace"]):
            if not rules.belongs(pod, service) or not rules.should_be_in(pod, include_terminating=True):
                continue
            addresses = _addresses(pod, family)
            if not addresses:
                continue
            key = tuple(tuple(sorted(p.items())) for p in rules.ports_of(pod, service))
            groups.setdefault(key, []).append(self._endpoint(pod, service, addresses))
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
        return endpoint

    def _meta(self, service: Obj) -> tuple[Obj, Obj]:
        labels = {
            k: v
            for k, v in (service["metadata"].get("labels") or {}).items()
            if k not in (MANAGED_BY, SERVICE_LABEL, HEADLESS)
        }
        if service["spec"].get("clusterIP") == "None":
            labels[HEADLESS] = ""
        labels[MANAGED_BY] = CONTROLLER
        labels[SERVICE_LABEL] = service["metadata"]["name"]
        return labels, {TRIGGER_TIME: self.world.timestamp()}

    async def _create(self, service: Obj, family: str, ports: list[Obj] | None, endpoints: list[Obj]) -> None:
        labels, annotations = self._meta(service)
        meta = service["metadata"]
        body: Obj = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": f"{meta['name']}-",
                "namespace": meta["namespace"],
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [controller_ref(service, SERVICES)],
            },
            "addressType": family,
            "endpoints": endpoints,
            "ports": ports or None,
        }
        try:
            await self.client.create(ENDPOINT_SLICES, body, meta["namespace"])
        except ApiError as error:
            if error.code not in (403, 404):
                raise

    async def _update(self, found: Obj, service: Obj, ports: list[Obj] | None, endpoints: list[Obj]) -> None:
        labels, annotations = self._meta(service)
        same = (
            (found.get("endpoints") or []) == endpoints
            and _port_key(found.get("ports")) == _port_key(ports)
            and found["metadata"].get("labels") == labels
        )
        if same:
            return
        meta = {**found["metadata"], "labels": labels}
        meta["annotations"] = {**(meta.get("annotations") or {}), **annotations}
        body = {
            **found,
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": meta,
            "endpoints": endpoints,
            "ports": ports or None,
        }
        await self.client.update(ENDPOINT_SLICES, body)

    async def _delete(self, found: Obj) -> None:
        meta = found["metadata"]
        try:
            await self.client.delete(ENDPOINT_SLICES, meta["name"], meta["namespace"])
        except ApiError as error:
            if error.code != 404:
                raise


def _take(spare: list[Obj], ports: list[Obj] | None, endpoints: list[Obj]) -> Obj | None:
    """The slice to reuse: one with the same ports, best one that shares endpoints."""
    addresses = {tuple(e["addresses"]) for e in endpoints}
    candidates = [s for s in spare if _port_key(s.get("ports")) == _port_key(ports)] or spare
    if not candidates:
        return None
    best = max(
        candidates, key=lambda s: len(addresses & {tuple(e["addresses"]) for e in s.get("endpoints") or ()})
    )
    spare.remove(best)
    return best


def _port_key(ports: list[Obj] | None) -> list[Any]:
    return sorted(tuple(sorted(p.items())) for p in ports or ())


def _addresses(pod: Obj, family: str) -> list[str]:
    ips = [i["ip"] for i in pod["status"].get("podIPs") or ()] or [pod["status"]["podIP"]]
    return [ip for ip in ips if (":" in ip) == (family == "IPv6")][:1]


def _service_of_slice(found: Obj) -> Iterable[str]:
    name = (found["metadata"].get("labels") or {}).get(SERVICE_LABEL)
    return (f"{found['metadata']['namespace']}/{name}",) if name else ()


def _is_ours(found: Obj) -> bool:
    return (found["metadata"].get("labels") or {}).get(MANAGED_BY) == CONTROLLER
