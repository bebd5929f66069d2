"""Cluster IPs and node ports of services (pkg/registry/core/service/storage/alloc.go)."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.resources import IP_ADDRESSES, SERVICES, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.allocators.pool import Full, Pool
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.kit.world import World

Undo = Callable[[], Awaitable[None]]


class Objects(Protocol):
    """How IPAddress objects are made and removed."""

    async def create(self, resource: Resource, obj: Obj) -> bool:
        """False when it is there already."""

    async def delete(self, resource: Resource, name: str) -> None: ...


class ServiceAllocators:
    def __init__(
        self, service_range: str, node_ports: tuple[int, int], lister: Lister, objects: Objects, world: World
    ) -> None:
        network = ipaddress.ip_network(service_range)
        self._version = network.version
        first = int(network.network_address) + 1
        last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
        self._network = network
        self._addresses = Pool(first, min(last, first + (1 << 20)))
        self._ports = Pool(*node_ports)
        self._lister = lister
        self._objects = objects
        self._world = world

    @property
    def family(self) -> str:
        return "IPv4" if self._version == 4 else "IPv6"

    # -- addresses --------------------------------------------------------------------------------------

    def _taken_addresses(self) -> Iterator[int]:
        for obj in self._lister.list(IP_ADDRESSES):
            yield int(ipaddress.ip_address(obj["metadata"]["name"]))

    async def assign_address(self, service: Obj, *, dry_run: bool) -> Undo | None:
        """Fill clusterIP and clusterIPs of a service that needs one; 422 for one that cannot be had."""
        spec = service["spec"]
        asked = spec.get("clusterIP") or ""
        if spec.get("type") == "ExternalName" or asked == "None":
            return None
        number = self._take(service, asked)
        address = str(ipaddress.ip_address(number))
        spec["clusterIP"], spec["clusterIPs"] = address, [address]
        if dry_run:
            self._addresses.release(number)
            return None
        made = await self._objects.create(IP_ADDRESSES, _ip_address(address, self.family, service))
        self._addresses.release(number)
        if not made:
            raise self._refused(service, address, "provided IP is already allocated")

        async def undo() -> None:
            await self._objects.delete(IP_ADDRESSES, address)

        return undo

    def _take(self, service: Obj, asked: str) -> int:
        if not asked:
            try:
                return self._addresses.pick(self._taken_addresses(), self._world.random)
            except Full:
                raise errors.internal("failed to allocate a serviceIP: range is full") from None
        number = int(ipaddress.ip_address(asked))
        if ipaddress.ip_address(asked) not in self._network or number not in self._addresses:
            text = f"failed to allocate IP {asked}: the provided network does not match the current range"
            raise self._refused(service, asked, text)
        if not self._addresses.reserve(number, self._taken_addresses()):
            raise self._refused(
                service, asked, f"failed to allocate IP {asked}: provided IP is already allocated"
            )
        return number

    def _refused(self, service: Obj, address: str, text: str) -> errors.ApiError:
        found = [f.invalid("spec.clusterIPs", [address], text)]
        return errors.invalid("", "Service", service["metadata"]["name"], found)

    async def release_address(self, service: Obj) -> None:
        for address in service["spec"].get("clusterIPs") or ():
            if address != "None":
                await self._objects.delete(IP_ADDRESSES, address)

    # -- node ports -------------------------------------------------------------------------------------

    def _taken_ports(self, but: str) -> Iterator[int]:
        for service in self._lister.list(SERVICES):
            if service["metadata"].get("uid") == but:
                continue
            for port in service["spec"].get("ports") or ():
                if port.get("nodePort"):
                    yield port["nodePort"]
            if service["spec"].get("healthCheckNodePort"):
                yield service["spec"]["healthCheckNodePort"]

    def assign_ports(self, service: Obj, *, dry_run: bool) -> Undo | None:
        """Fill node ports where the type has them; 422 for one that cannot be had."""
        spec = service["spec"]
        if not _wants_ports(spec):
            return None
        taken = list(self._taken_ports(service["metadata"].get("uid", "")))
        reserved: list[int] = []
        try:
            self._fill_ports(service, taken, reserved, dry_run)
            if _wants_health_check(spec) and not spec.get("healthCheckNodePort"):
                number = self._ports.pick(taken, self._world.random)
                reserved.append(number)
                spec["healthCheckNodePort"] = number
        except BaseException:
            self._release(reserved)
            raise
        if dry_run:
            self._release(reserved)
            return None

        async def settle() -> None:
            self._release(reserved)

        return settle

    def _fill_ports(self, service: Obj, taken: list[int], reserved: list[int], dry_run: bool) -> None:
        by_number: dict[int, str] = {}
        for index, port in enumerate(service["spec"].get("ports") or ()):
            asked = port.get("nodePort")
            protocol = port.get("protocol", "TCP")
            if asked:
                if by_number.get(asked, protocol) != protocol:
                    continue
                by_number[asked] = protocol
                if dry_run:
                    continue
                self._reserve_port(service, index, asked, taken)
                reserved.append(asked)
                continue
            shared = _shared_port(service["spec"]["ports"], index)
            number = shared or self._ports.pick([*taken, *by_number], self._world.random)
            if not shared:
                reserved.append(number)
            by_number[number] = protocol
            port["nodePort"] = number

    def _reserve_port(self, service: Obj, index: int, asked: int, taken: list[int]) -> None:
        path = f"spec.ports[{index}].nodePort"
        name = service["metadata"]["name"]
        if asked not in self._ports:
            text = (
                "provided port is not in the valid range. The range of valid ports is "
                f"{self._ports.first}-{self._ports.last}"
            )
            raise errors.invalid("", "Service", name, [f.invalid(path, asked, text)])
        if not self._ports.reserve(asked, taken):
            found = [f.invalid(path, asked, "provided port is already allocated")]
            raise errors.invalid("", "Service", name, found)

    def _release(self, numbers: list[int]) -> None:
        for number in numbers:
            self._ports.release(number)


def _shared_port(ports: list[Obj], index: int) -> int:
    """The node port of an earlier entry with the same port and another protocol (DNS over TCP and UDP)."""
    here = ports[index]
    for other in ports[:index]:
        if other["port"] == here["port"] and other.get("protocol") != here.get("protocol"):
            return int(other.get("nodePort", 0))
    return 0


def _wants_ports(spec: Obj) -> bool:
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False


def _wants_health_check(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _ip_address(address: str, family: str, service: Obj) -> Obj:
    meta = service["metadata"]
    return {
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": address,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {"parentRef": {"resource": "services", "namespace": meta["namespace"], "name": meta["name"]}},
    }
