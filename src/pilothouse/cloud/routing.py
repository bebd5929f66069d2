"""Which routes a cluster's nodes need, and which of those in the cloud are to go; pure
(k8s.io/cloud-provider/controllers/route)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import Route

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do so that each node's pod networks lead to it."""

    delete: tuple[Route, ...]
    create: tuple[tuple[str, str], ...]
    """(node, network)"""


def plan(nodes: Iterable[Obj], present: Sequence[Route], within: Sequence[Network]) -> Plan:
    """`within` are the cluster's networks: a route outside of them is somebody else's, whatever it says."""
    needed = {(str(node["metadata"]["name"]), network) for node in nodes for network in pod_networks(node)}
    good = {(route.target_node, route.destination) for route in present if not route.blackhole} & needed
    delete = tuple(
        route
        for route in present
        if _is_ours(route, within) and (route.blackhole or (route.target_node, route.destination) not in good)
    )
    return Plan(delete, tuple(sorted(needed - good)))


def pod_networks(node: Obj) -> list[str]:
    found: list[str] = (node.get("spec") or {}).get("podCIDRs") or []
    return found


def _is_ours(route: Route, within: Sequence[Network]) -> bool:
    try:
        destination = ip_network(route.destination, strict=False)
    except ValueError:
        return False
    return any(destination.version == network.version and destination.overlaps(network) for network in within)
