"""Cluster IPs: one IPAddress object each, from the ranges of the ServiceCIDRs (KEP-1880,
pkg/registry/core/service/ipallocator)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from pilothouse.api.resources import IP_ADDRESSES, SERVICE_CIDRS
from pilothouse.api.types import Obj
from pilothouse.api.validation import addresses
from pilothouse.apiserver.registry.allocators.objects import Objects
from pilothouse.apiserver.registry.allocators.pool import Full, Pool, kept_back
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.kit.world import World

FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY_LABEL = "ipaddress.kubernetes.io/managed-by"
MANAGER = "ipallocator.k8s.io"
_KEPT_BACK_MIN = 16
_KEPT_BACK_MAX = 256
_KEPT_BACK_SHARE = 16


class Refused(Exception):
    """An address that cannot be had; the text says why, in upstream's words."""


class Range(NamedTuple):
    network: addresses.Network
    pool: Pool


def make_range(cidr: str) -> Range:
    """Addresses that services may have: not the network's own, nor IPv4's broadcast address."""
    network = ipaddress.ip_network(cidr)
    first = int(network.network_address) + 1
    last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    static = kept_back(
        network.num_addresses, least=_KEPT_BACK_MIN, most=_KEPT_BACK_MAX, share=_KEPT_BACK_SHARE
    )
    return Range(network, Pool(first, last, static))


def family_of_network(network: addresses.Network) -> str:
    return "IPv4" if network.version == 4 else "IPv6"


class ClusterIPs:
    """`cidrs` are the server's own ranges (--service-cluster-ip-range), at most one of each family; the first
    gives the default family. ServiceCIDR objects that are ready add more."""

    def __init__(self, cidrs: Sequence[str], lister: Lister, objects: Objects, world: World) -> None:
        self._own = [make_range(cidr) for cidr in cidrs]
        self._ranges = {str(r.network): r for r in self._own}
        self.families = tuple(family_of_network(r.network) for r in self._own)
        self._lister = lister
        self._objects = objects
        self._world = world

    @property
    def default_family(self) -> str:
        return self.families[0]

    def reserve(self, ip: str, *, dry_run: bool) -> str:
        """Take a chosen address; its canonical form. Raises Refused."""
        address = addresses.parse(ip)
        assert address is not None
        family = "IPv4" if address.version == 4 else "IPv6"
        if dry_run:
            own = next(r for r in self._own if family_of_network(r.network) == family)
            if int(address) not in own.pool:
                raise Refused(
                    f"the provided IP ({ip}) is not in the valid range. The range of valid IPs is {own.network}"
                )
            return ip
        found = next((r for r in self._ready(family) if address in r.network), None)
        if found is None:
            raise Refused("the provided network does not match the current range")
        if int(address) not in found.pool:
            raise Refused(
                f"the provided IP ({ip}) is not in the valid range. The range of valid IPs is {found.network}"
            )
        if not found.pool.reserve(int(address), lambda number: self._is_taken(number, address.version)):
            raise Refused("provided IP is already allocated")
        return str(address)

    def reserve_any(self, family: str, *, dry_run: bool) -> str:
        """Take a free address. Raises Refused when there is none."""
        if dry_run:
            own = next(r for r in self._own if family_of_network(r.network) == family)
            return str(own.network.network_address)
        version = 4 if family == "IPv4" else 6
        for found in self._ready(family):
            try:
                number = found.pool.pick(lambda n: self._is_taken(n, version), self._world.random)
            except Full:
                continue
            return _text(number, version)
        raise Refused("range is full")

    def _ready(self, family: str) -> list[Range]:
        """The server's own range first, then those of ready ServiceCIDRs, by name."""
        names = [str(r.network) for r in self._own]
        for cidr in self._lister.list(SERVICE_CIDRS):
            if cidr["metadata"].get("deletionTimestamp") or not _is_ready(cidr):
                continue
            for text in (cidr.get("spec") or {}).get("cidrs") or ():
                if text not in names:
                    names.append(text)
                if text not in self._ranges:
                    self._ranges[text] = make_range(text)
        return [r for r in map(self._ranges.__getitem__, names) if family_of_network(r.network) == family]

    def _is_taken(self, number: int, version: int) -> bool:
        return self._lister.get(IP_ADDRESSES, _text(number, version)) is not None

    def release(self, ip: str) -> None:
        """End a reservation; who holds the address is in the objects from now on."""
        address = addresses.parse(ip)
        assert address is not None
        for found in self._ranges.values():
            if found.network.version == address.version:
                found.pool.release(int(address))

    async def claim(self, ip: str, service: Obj) -> bool:
        """Make the IPAddress object; False when another server was faster."""
        return await self._objects.create(IP_ADDRESSES, ip_address(ip, service))

    async def give_back(self, ip: str) -> None:
        await self._objects.delete(IP_ADDRESSES, ip)


def _text(number: int, version: int) -> str:
    return str(ipaddress.IPv4Address(number) if version == 4 else ipaddress.IPv6Address(number))


def _is_ready(cidr: Obj) -> bool:
    conditions = (cidr.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def ip_address(ip: str, service: Obj) -> Obj:
    """The object that says which service has an address."""
    meta = service["metadata"]
    labels = {FAMILY_LABEL: "IPv6" if ":" in ip else "IPv4", MANAGED_BY_LABEL: MANAGER}
    parent = {"resource": "services", "namespace": meta["namespace"], "name": meta["name"]}
    return {
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": ip, "labels": labels},
        "spec": {"parentRef": parent},
    }
