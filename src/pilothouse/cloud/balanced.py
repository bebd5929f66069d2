"""Which services want a load balancer, which nodes stand behind it, and what of a service it depends on; pure
(k8s.io/cloud-provider/controllers/service, KEP-3458)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.api.taints import of_node
from pilothouse.api.types import Obj

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
TO_BE_DELETED = "ToBeDeletedByClusterAutoscaler"

_SPEC = (
    "type",
    "loadBalancerClass",
    "loadBalancerSourceRanges",
    "sessionAffinity",
    "sessionAffinityConfig",
    "loadBalancerIP",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
)
_PORT = ("name", "protocol", "port", "nodePort", "targetPort", "appProtocol")


def wanted(service: Obj) -> bool:
    """One of a class is somebody else's."""
    spec = service["spec"]
    return spec.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") is None


def has_finalizer(service: Obj) -> bool:
    return FINALIZER in (service["metadata"].get("finalizers") or ())


def needs_cleanup(service: Obj) -> bool:
    """It has, or may have, a load balancer that is to go."""
    going = bool(service["metadata"].get("deletionTimestamp"))
    return has_finalizer(service) and (going or service["spec"].get("type") != "LoadBalancer")


def essence(service: Obj) -> tuple[Any, ...]:
    """What a load balancer depends on: equal for two versions of a service that need the same one."""
    spec, meta = service["spec"], service["metadata"]
    ports = [tuple(port.get(field) for field in _PORT) for port in spec.get("ports") or ()]
    families = len(spec.get("ipFamilies") or ())
    return (
        meta["uid"],
        bool(meta.get("deletionTimestamp")),
        meta.get("annotations") or {},
        ports,
        families,
        [spec.get(field) for field in _SPEC],
    )


def nodes_behind(nodes: Iterable[Obj]) -> list[Obj]:
    """Nodes that a load balancer sends traffic to, by name. Whether they are ready is for its health checks to say, so
    that a node that flaps changes nothing (StableLoadBalancerNodeSet)."""
    return sorted((node for node in nodes if _serves(node)), key=lambda node: str(node["metadata"]["name"]))


def _serves(node: Obj) -> bool:
    meta = node["metadata"]
    return (
        not meta.get("deletionTimestamp")
        and EXCLUDED not in (meta.get("labels") or {})
        and all(taint["key"] != TO_BE_DELETED for taint in of_node(node))
        and bool((node.get("spec") or {}).get("providerID"))
    )


def membership_changed(old: Obj, new: Obj) -> bool:
    """A change of a node that load balancers have to follow; a taint alone is none, until something else changes."""
    return _standing(old) != _standing(new)


def _standing(node: Obj) -> tuple[bool, bool, bool]:
    meta = node["metadata"]
    return (
        bool(meta.get("deletionTimestamp")),
        EXCLUDED in (meta.get("labels") or {}),
        bool((node.get("spec") or {}).get("providerID")),
    )
