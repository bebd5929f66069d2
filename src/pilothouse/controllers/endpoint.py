"""Endpoints controller: the older form of a service's endpoints, kept for those who still read it
(k8s.io/kubernetes/pkg/controller/endpoint)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import ENDPOINTS, PODS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of, split_key
from pilothouse.controllers import endpoints_rules as rules
from pilothouse.controllers.endpoint_slice import HEADLESS, TRIGGER_TIME
from pilothouse.controllers.reconciler import Controller

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
ADDRESSES_MAX = 1000


class EndpointsController(Controller):
    name: ClassVar[str] = "endpoints-controller"

    def setup(self) -> None:
        self._services = self.watch(SERVICES)
        self._endpoints = self.informer(ENDPOINTS)
        self._pods = self.watch(PODS, keys=self._services_of, changed=rules.changed)
        self._pods.add_index("namespace", lambda pod: (pod["metadata"]["namespace"],))

    def _services_of(self, pod: Obj) -> Iterable[str]:
        return [key_of(s) for s in self._services.list() if rules.belongs(pod, s)]

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        present = self._endpoints.get(key)
        if service is None:
            await self._delete(key, present)
            return None
        if not service["spec"].get("selector"):
            return None
        wanted = self._wanted(service)
        if present is None:
            await self._create(wanted)
        elif _differs(present, wanted):
            meta = {
                **present["metadata"],
                "labels": wanted["metadata"]["labels"],
                "annotations": {
                    **(present["metadata"].get("annotations") or {}),
                    **wanted["metadata"]["annotations"],
                },
            }
            await self.client.update(ENDPOINTS, {**wanted, "metadata": meta})
        return None

    def _wanted(self, service: Obj) -> Obj:
        meta = service["metadata"]
        labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HEADLESS}
        if service["spec"].get("clusterIP") == "None":
            labels[HEADLESS] = ""
        labels[MANAGED_BY] = CONTROLLER
        return {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": meta["name"],
                "namespace": meta["namespace"],
                "labels": labels,
                "annotations": {TRIGGER_TIME: self.world.timestamp()},
            },
            "subsets": self._subsets(service),
        }

    def _subsets(self, service: Obj) -> list[Obj]:
        """Addresses grouped by their ports, ready and not ready apart."""
        groups: dict[tuple[Any, ...], tuple[list[Obj], list[Obj]]] = {}
        for pod in self._pods.by_index("namespace", service["metadata"]["namespace"]):
            if not rules.belongs(pod, service) or not rules.should_be_in(pod, include_terminating=False):
                continue
            key = tuple(tuple(sorted(p.items())) for p in rules.ports_of(pod, service))
            ready, not_ready = groups.setdefault(key, ([], []))
            (ready if rules.conditions(pod, service)["ready"] else not_ready).append(_address(pod, service))
        subsets = []
        for key, (ready, not_ready) in sorted(groups.items()):
            subset: Obj = {}
            if ready:
                subset["addresses"] = sorted(ready, key=lambda a: str(a["ip"]))[:ADDRESSES_MAX]
            if not_ready:
                subset["notReadyAddresses"] = sorted(not_ready, key=lambda a: str(a["ip"]))[:ADDRESSES_MAX]
            ports = [dict(p) for p in key]
            for port in ports:
                if not port["name"]:
                    del port["name"]
            if ports:
                subset["ports"] = ports
            subsets.append(subset)
        return subsets

    async def _create(self, wanted: Obj) -> None:
        try:
            await self.client.create(ENDPOINTS, wanted, wanted["metadata"]["namespace"])
        except ApiError as error:
            if error.code not in (403, 404):
                raise

    async def _delete(self, key: str, present: Obj | None) -> None:
        if present is None or (present["metadata"].get("labels") or {}).get(MANAGED_BY) != CONTROLLER:
            return
        namespace, name = split_key(key)
        try:
            await self.client.delete(ENDPOINTS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise


def _address(pod: Obj, service: Obj) -> Obj:
    address: Obj = {"ip": pod["status"]["podIP"]}
    hostname = pod["spec"].get("hostname")
    if hostname and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        address["hostname"] = hostname
    if pod["spec"].get("nodeName"):
        address["nodeName"] = pod["spec"]["nodeName"]
    address["targetRef"] = rules.target(pod)
    return address


def _differs(present: Obj, wanted: Obj) -> bool:
    labels = present["metadata"].get("labels")
    return (present.get("subsets") or []) != wanted["subsets"] or bool(labels != wanted["metadata"]["labels"])
