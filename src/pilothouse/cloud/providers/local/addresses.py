"""Which address a service's load balancer has; pure. A service keeps what its status says, over restarts too."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import CloudError, NoRoom

Network = IPv4Network | IPv6Network


def held(service: Obj) -> str:
    """What its status says, "" for nothing."""
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return str(ingress[0].get("ip") or "") if ingress else ""


def taken(services: Iterable[Obj], *, but: str) -> set[str]:
    """The addresses of all services except the one with UID `but`."""
    return {address for s in services if s["metadata"]["uid"] != but and (address := held(s))}


def address_for(service: Obj, network: Network, others: Collection[str]) -> str:
    """The one it has, else the one it asks for (spec.loadBalancerIP), else the first that is free. CloudError for one
    that cannot be had, NoRoom when all are taken."""
    wanted = service["spec"].get("loadBalancerIP") or ""
    if wanted:
        if ip_address(wanted) not in network:
            raise CloudError(f"loadBalancerIP {wanted} is not in {network}, the addresses of this cloud")
        if wanted in others:
            raise CloudError(f"loadBalancerIP {wanted} is another service's")
        return str(wanted)
    present = held(service)
    if present and present not in others and ip_address(present) in network:
        return present
    # The first address is the network's own; it and the last are left alone.
    for address in network.hosts():
        if str(address) not in others:
            return str(address)
    raise NoRoom(f"all addresses of {network} are taken; give the provider more (loadBalancers.addresses)")
