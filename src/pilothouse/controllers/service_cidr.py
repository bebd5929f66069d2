"""Ranges of service addresses: one that addresses were given from goes only when they are gone, or another range has
them (KEP-1880; k8s.io/kubernetes/pkg/controller/servicecidrs).

    made ──finalizer──▶ Ready ──deleted──▶ Terminating while addresses would be orphans ──10 s──▶ gone
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import IP_ADDRESSES, SERVICE_CIDRS
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller
from pilothouse.controllers.pods import condition, is_terminating
from pilothouse.kit.world import parse_timestamp

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE_S = 10.0
"""So long allocators may still think that a range which is going is there."""
_READY = "Kubernetes Service CIDR is ready"
_ORPHANS = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ServiceCidrController(Controller):
    name: ClassVar[str] = "service-cidr-controller"
    queue_name: ClassVar[str] = "ipaddresses"

    def setup(self) -> None:
        self._ranges = self.watch(SERVICE_CIDRS, keys=self._related)
        self._addresses = self.watch(IP_ADDRESSES, keys=self._ranges_of, changed=lambda old, new: False)

    async def reconcile(self, key: str) -> float | None:
        found = self._ranges.get(key)
        if found is None:
            return None
        finalizers = found["metadata"].get("finalizers") or []
        if not is_terminating(found):
            if FINALIZER not in finalizers:
                await self._set_finalizers(found, [*finalizers, FINALIZER])
            await self._set_ready(found, "True", "", _READY)
            return None
        if FINALIZER not in finalizers:
            return None
        others = [r for r in self._ranges.list() if key_of(r) != key and not is_terminating(r)]
        if has_orphans(found, others, map(key_of, self._addresses.list())):
            await self._set_ready(found, "False", "Terminating", _ORPHANS)
            return None
        going_since = parse_timestamp(found["metadata"]["deletionTimestamp"])
        left_s = going_since + GRACE_S - self.world.clock.now()
        if left_s > 0:
            return left_s
        await self._set_finalizers(found, [f for f in finalizers if f != FINALIZER])
        return None

    async def _set_finalizers(self, found: Obj, finalizers: list[str]) -> None:
        meta = found["metadata"]
        body = {
            "metadata": {
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
                "finalizers": finalizers,
            }
        }
        await self._patch(meta["name"], body)

    async def _set_ready(self, found: Obj, status: str, reason: str, message: str) -> None:
        before = condition(found, "Ready")
        if before is not None and (before["status"], before["reason"]) == (status, reason):
            return
        ready: Obj = {"type": "Ready", "status": status, "reason": reason, "message": message}
        ready["lastTransitionTime"] = self.world.timestamp()
        body: Obj = {
            "apiVersion": SERVICE_CIDRS.group_version,
            "kind": SERVICE_CIDRS.kind,
            "metadata": {"name": found["metadata"]["name"]},
            "status": {"conditions": [ready]},
        }
        name = found["metadata"]["name"]
        await self._patch(
            name, body, patch_type="apply", subresource="status", fieldManager=self.name, force="true"
        )

    async def _patch(self, name: str, body: Obj, **how: str) -> None:
        try:
            await self.client.patch(SERVICE_CIDRS, name, body, **how)  # type: ignore[arg-type]
        except ApiError as error:
            if error.code != 404:
                raise

    def _related(self, found: Obj) -> Iterable[str]:
        """The range, and those that share addresses with it: one may go when another has them."""
        mine = networks(found)
        yield key_of(found)
        for other in self._ranges.list():
            if any(a.overlaps(b) for a in networks(other) for b in mine if a.version == b.version):
                yield key_of(other)

    def _ranges_of(self, address: Obj) -> Iterable[str]:
        ip = ipaddress.ip_address(key_of(address))
        for found in self._ranges.list():
            if is_terminating(found) and any(ip in network for network in networks(found)):
                yield key_of(found)


def networks(found: Obj) -> list[Network]:
    return [ipaddress.ip_network(cidr, strict=False) for cidr in (found.get("spec") or {}).get("cidrs") or ()]


def has_orphans(found: Obj, others: Iterable[Obj], addresses: Iterable[str]) -> bool:
    """Whether an address of a range would be in none of the `others`."""
    mine = networks(found)
    theirs = [network for other in others for network in networks(other)]
    for text in addresses:
        ip = ipaddress.ip_address(text)
        if any(ip in network for network in mine) and not any(ip in network for network in theirs):
            return True
    return False
