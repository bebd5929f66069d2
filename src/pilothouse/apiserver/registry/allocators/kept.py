"""What an update of a service keeps of what was allocated, and what it drops with the type that needed it
(pkg/registry/core/service/storage patchAllocatedValues and normalizeClusterIPs, strategy
dropTypeDependentFields). Clients replay old manifests: leaving out a value that the server set must not lose it.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.api.validation.services import is_externally_accessible, needs_health_check


def needs_cluster_ip(spec: Obj) -> bool:
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def needs_node_port(spec: Obj) -> bool:
    kind = spec.get("type")
    return kind == "NodePort" or (kind == "LoadBalancer" and allocates_node_ports(spec))


def allocates_node_ports(spec: Obj) -> bool:
    """A balancer may go without."""
    return spec.get("type") != "LoadBalancer" or spec.get("allocateLoadBalancerNodePorts") is not False


def put(spec: Obj, key: str, value: Any) -> None:
    """Set a field, or take it away where there is nothing to set."""
    if value:
        spec[key] = value
    else:
        spec.pop(key, None)


def synchronize(spec: Obj, before: Obj | None) -> None:
    """clusterIP and clusterIPs[0] are one value; old clients write the first only."""
    ip, ips = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if before is None:
        if ip and not ips:
            spec["clusterIPs"] = [ip]
        return
    old_ip, old_ips = before.get("clusterIP", ""), before.get("clusterIPs") or []
    if old_ips and not ips and ip == old_ip:
        ips = spec["clusterIPs"] = list(old_ips)
    if ip != old_ip and ips in ([], old_ips):
        put(spec, "clusterIPs", [ip] if ip else [])


def keep_allocated(spec: Obj, before: Obj) -> None:
    """Give back what the update left out."""
    if needs_cluster_ip(before) and needs_cluster_ip(spec):
        if not spec.get("clusterIP"):
            put(spec, "clusterIP", before.get("clusterIP"))
        if not spec.get("clusterIPs") and spec.get("clusterIP", "") == before.get("clusterIP", ""):
            put(spec, "clusterIPs", list(before.get("clusterIPs") or ()))
    if needs_node_port(before) and needs_node_port(spec):
        _keep_node_ports(spec, before)
    if needs_health_check(before) and needs_health_check(spec) and not spec.get("healthCheckNodePort"):
        put(spec, "healthCheckNodePort", before.get("healthCheckNodePort"))


def _keep_node_ports(spec: Obj, before: Obj) -> None:
    """By the port's name; a node port that another port asks for is not given twice."""
    old = before.get("ports") or ()
    asked = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    used = asked & {port["nodePort"] for port in old if port.get("nodePort")}
    known = {port.get("name", ""): port.get("nodePort", 0) for port in old}
    for port in spec.get("ports") or ():
        if not port.get("nodePort"):
            number = known.get(port.get("name", ""), 0)
            if number and number not in used:
                port["nodePort"] = number
                used.add(number)


def drop_dependent(spec: Obj, before: Obj) -> None:
    """What only the old type needed goes, unless the client changed it in the same update."""
    if needs_cluster_ip(before) and not needs_cluster_ip(spec):
        if (spec.get("clusterIPs") or []) == (before.get("clusterIPs") or []):
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        for key in ("ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            _drop_same(spec, before, key)
    if needs_node_port(before) and not needs_node_port(spec) and _node_ports(spec) == _node_ports(before):
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)
    if needs_health_check(before) and not needs_health_check(spec):
        _drop_same(spec, before, "healthCheckNodePort")
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        _drop_same(spec, before, "allocateLoadBalancerNodePorts")
        _drop_same(spec, before, "loadBalancerClass")
    if is_externally_accessible(before) and not is_externally_accessible(spec):
        _drop_same(spec, before, "externalTrafficPolicy")


def _drop_same(spec: Obj, before: Obj, key: str) -> None:
    if spec.get(key) == before.get(key):
        spec.pop(key, None)


def _node_ports(spec: Obj) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
