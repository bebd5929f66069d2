"""Service controller: a load balancer for each service of that type (k8s.io/cloud-provider/controllers/service,
https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer).

    wanted ────────▶ finalizer ──▶ ensured ──▶ status has where it is reached
                        ▲             │  ▲
                        │             │  └── nodes changed: updated
    no more wanted,     └─────────────┘
    or being deleted ──▶ deleted in the cloud ──▶ status emptied, finalizer gone
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES, SERVICES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, Environment, TryAgain
from pilothouse.cloud import balanced
from pilothouse.cloud.provider import CloudError, Ingress, Later, LoadBalancers
from pilothouse.cloud.service_metrics import ServiceMetrics

log = logging.getLogger(__name__)


class ServiceController(Controller):
    name: ClassVar[str] = "service-lb-controller"
    workers: ClassVar[int] = 1
    retry_s: ClassVar[tuple[float, float]] = (5.0, 300.0)

    def __init__(self, env: Environment, balancers: LoadBalancers) -> None:
        super().__init__(env)
        self._balancers = balancers
        self._metrics = ServiceMetrics(env.metrics)
        self._made: dict[str, Obj] = {}
        """Services as they were when their load balancer was last asked for."""
        self._ensured: dict[str, tuple[Any, ...]] = {}
        """What of a service its load balancer was made from, where that succeeded."""
        self._behind: dict[str, list[str]] = {}
        """The nodes that a load balancer was last told of."""

    def setup(self) -> None:
        self._services = self.watch(SERVICES, changed=_matters)
        self._nodes = self.watch(NODES, keys=self._all, changed=balanced.membership_changed)

    def _all(self, node: Obj) -> Iterable[str]:
        return list(self._made)

    async def reconcile(self, key: str) -> float | None:
        service = self._services.get(key)
        try:
            await self._bring(key, service)
        except Later as later:
            log.info("service %s: %s", key, later)
            return later.after_s
        except CloudError as error:
            self._warn(
                service or self._made[key], "SyncLoadBalancerFailed", f"Error syncing load balancer: {error}"
            )
            raise TryAgain(str(error)) from error
        return None

    async def _bring(self, key: str, service: Obj | None) -> None:
        before = self._made.get(key)
        if before is not None and (
            service is None or service["metadata"]["uid"] != before["metadata"]["uid"]
        ):
            # Gone without waiting for us: somebody took the finalizer away.
            await self._delete(before)
            self._forget(key)
        if service is None:
            return
        if balanced.needs_cleanup(service) or (before is not None and not balanced.wanted(service)):
            await self._clean_up(service)
            self._forget(key)
        elif balanced.wanted(service) and not service["metadata"].get("deletionTimestamp"):
            self._made[key] = service
            await self._follow(key, service)

    def _forget(self, key: str) -> None:
        for known in (self._made, self._ensured, self._behind):
            known.pop(key, None)

    async def _follow(self, key: str, service: Obj) -> None:
        nodes = balanced.nodes_behind(self._nodes.list())
        names = [key_of(node) for node in nodes]
        essence = balanced.essence(service)
        if self._ensured.get(key) != essence:
            self._metrics.synced.inc()
            await self._ensure(service, nodes)
            self._ensured[key] = essence
        elif self._behind.get(key) != names:
            self._metrics.synced.inc()
            began_s = self.world.clock.monotonic()
            await self._update(service, nodes)
            took_s = self.world.clock.monotonic() - began_s
            self._metrics.nodes_synced_s.observe(took_s)
            self._metrics.updated_s.observe(took_s)
        self._behind[key] = names

    # -- one load balancer --------------------------------------------------------------------------------

    async def _ensure(self, service: Obj, nodes: list[Obj]) -> None:
        self._tell(service, "EnsuringLoadBalancer", "Ensuring load balancer")
        if not balanced.has_finalizer(service):
            service = await self._patch(service, {"metadata": {"finalizers": [balanced.FINALIZER]}})
        if not nodes:
            self._warn(service, "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")
        try:
            reached = await self._balancers.ensure(service, nodes)
        except Later:
            raise
        except CloudError as error:
            raise CloudError(f"failed to ensure load balancer: {error}") from error
        self._tell(service, "EnsuredLoadBalancer", "Ensured load balancer")
        await self._set_status(service, reached)

    async def _update(self, service: Obj, nodes: list[Obj]) -> None:
        try:
            await self._balancers.update(service, nodes)
        except Later:
            raise
        except CloudError as error:
            names = ", ".join(key_of(node) for node in nodes)
            what = f"Error updating load balancer with new hosts [{names}]: {error}"
            self._warn(service, "UpdateLoadBalancerFailed", what)
            self._metrics.nodes_failed.inc()
            raise
        if nodes:
            self._tell(service, "UpdatedLoadBalancer", "Updated load balancer with new hosts")
        else:
            self._warn(service, "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")

    async def _clean_up(self, service: Obj) -> None:
        if await self._balancers.get(service) is not None:
            await self._delete(service)
        await self._set_status(service, ())
        await self._patch(
            service, {"metadata": {"$deleteFromPrimitiveList/finalizers": [balanced.FINALIZER]}}
        )

    async def _delete(self, service: Obj) -> None:
        self._tell(service, "DeletingLoadBalancer", "Deleting load balancer")
        try:
            await self._balancers.delete(service)
        except Later:
            raise
        except CloudError as error:
            raise CloudError(f"failed to delete load balancer: {error}") from error
        self._tell(service, "DeletedLoadBalancer", "Deleted load balancer")

    # -- the service itself --------------------------------------------------------------------------------

    async def _set_status(self, service: Obj, reached: tuple[Ingress, ...]) -> None:
        wanted = [_ingress(one) for one in reached]
        present = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        if wanted != present:
            status = {"loadBalancer": {"$patch": "replace", "ingress": wanted} if wanted else None}
            await self._patch(service, {"status": status})

    async def _patch(self, service: Obj, body: Obj) -> Obj:
        """By its status, the finalizer too: that is all that upstream's role for this controller allows. A service that
        has gone in the meantime needs nothing more."""
        meta = service["metadata"]
        try:
            return await self.client.patch(
                SERVICES,
                meta["name"],
                body,
                meta["namespace"],
                patch_type="strategic",
                subresource="status",
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return service

    def _tell(self, service: Obj, reason: str, message: str) -> None:
        self._event(service, "Normal", reason, message)

    def _warn(self, service: Obj, reason: str, message: str) -> None:
        self._event(service, "Warning", reason, message)

    def _event(self, service: Obj, kind: str, reason: str, message: str) -> None:
        self.recorder.event({**service, "apiVersion": "v1", "kind": "Service"}, kind, reason, message)


def _ingress(one: Ingress) -> Obj:
    found: Obj = {"ip": one.ip, "hostname": one.hostname, "ipMode": one.ip_mode}
    if one.ports:
        found["ports"] = [dict(port) for port in one.ports]
    if one.ip and not one.ip_mode:
        found["ipMode"] = "VIP"
    return {name: value for name, value in found.items() if value}


def _matters(old: Obj, new: Obj) -> bool:
    """Its own writes of status and finalizer move nothing."""
    return balanced.essence(old) != balanced.essence(new)
