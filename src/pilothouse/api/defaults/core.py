"""Defaults of the core kinds that are no workloads (pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

import base64

from pilothouse.api.defaults import pods
from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj

_AFFINITY_TIMEOUT_S = 10800


def service(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec["sessionAffinityConfig"] = spec.get("sessionAffinityConfig") or {}
        client = config["clientIP"] = config.get("clientIP") or {}
        if client.get("timeoutSeconds") is None:
            client["timeoutSeconds"] = _AFFINITY_TIMEOUT_S
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port["port"]
    external = spec["type"] in ("NodePort", "LoadBalancer") or (
        spec["type"] == "ClusterIP" and spec.get("externalIPs")
    )
    if external and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec.get("internalTrafficPolicy") is None and spec["type"] != "ExternalName":
        spec["internalTrafficPolicy"] = "Cluster"
    if spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True
    _ip_mode(obj)


def _ip_mode(obj: Obj) -> None:
    balancer = (obj.get("status") or {}).get("loadBalancer") or {}
    for ingress in balancer.get("ingress") or ():
        if ingress.get("ip") and ingress.get("ipMode") is None:
            ingress["ipMode"] = "VIP"


def secret(obj: Obj) -> None:
    """stringData is a way to write data: it never comes back, and its keys are owned as data's."""
    given = obj.pop("stringData", None)
    if given:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in given.items()}
        obj["data"] = {**(obj.get("data") or {}), **encoded}
    if not obj.get("type"):
        obj["type"] = "Opaque"


def endpoints(obj: Obj) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def namespace(obj: Obj) -> None:
    """The status of a namespace without one; and the label with its name, so that selectors can name it."""
    name = obj["metadata"].get("name")
    if name:
        labels = dict(obj["metadata"].get("labels") or {})
        labels["kubernetes.io/metadata.name"] = name
        obj["metadata"]["labels"] = labels
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Active"


def node(obj: Obj) -> None:
    """Allocatable is the capacity where it is not given; pod networks in both their forms."""
    if obj.get("spec"):
        pods.one_and_many(obj["spec"], "podCIDR", "podCIDRs", str, str)
    status = obj.get("status") or {}
    capacity = status.get("capacity")
    if capacity:
        allocatable = dict(status.get("allocatable") or {})
        for name, amount in capacity.items():
            allocatable.setdefault(name, amount)
        status["allocatable"] = allocatable


def persistent_volume(obj: Obj) -> None:
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"
    spec = obj.setdefault("spec", {})
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    pods.volume_source(spec)


def persistent_volume_claim(obj: Obj) -> None:
    status = obj.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"
    claim_spec(obj.setdefault("spec", {}))


def claim_spec(spec: Obj) -> None:
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"


def limit_range(obj: Obj) -> None:
    """Limits of containers: what is missing comes from what is given, from the maximum down."""
    for item in (obj.get("spec") or {}).get("limits") or ():
        if item.get("type") != "Container":
            continue
        default = dict(item.get("default") or {})
        for name, amount in (item.get("max") or {}).items():
            default.setdefault(name, amount)
        request = dict(item.get("defaultRequest") or {})
        for source in (default, item.get("min") or {}):
            for name, amount in source.items():
                request.setdefault(name, amount)
        if default:
            item["default"] = default
        if request:
            item["defaultRequest"] = request


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("", "v1", "Service"): service,
    ("", "v1", "Secret"): secret,
    ("", "v1", "Endpoints"): endpoints,
    ("", "v1", "Namespace"): namespace,
    ("", "v1", "Node"): node,
    ("", "v1", "PersistentVolume"): persistent_volume,
    ("", "v1", "PersistentVolumeClaim"): persistent_volume_claim,
    ("", "v1", "LimitRange"): limit_range,
}
