"""Table columns of the kinds in networking.k8s.io (pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table
from pilothouse.apiserver.registry.tables.core import LISTED_MAX, balancer_addresses
from pilothouse.apiserver.registry.tables.workload_cells import NONE, selector

GROUP = "networking.k8s.io"


def _ingress(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    return [
        name(obj),
        spec.get("ingressClassName", NONE),
        _hosts(spec.get("rules") or ()),
        ",".join(balancer_addresses(obj)),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now_s),
    ]


def _hosts(rules: Any) -> str:
    """Hosts of the rules up to the third that has one; the rest is counted in rules."""
    hosts: list[str] = []
    more = False
    for rule in rules:
        more = more or len(hosts) == LISTED_MAX
        if not more and rule.get("host"):
            hosts.append(rule["host"])
    if not hosts:
        return "*"
    text = ",".join(hosts)
    return f"{text} + {len(rules) - LISTED_MAX} more..." if more else text


def _ingress_class(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    parameters, shown = spec.get("parameters"), NONE
    if parameters is not None:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters.get('kind', '')}{group}/{parameters.get('name', '')}"
    return [name(obj), spec.get("controller", ""), shown, age(obj, now_s)]


def _network_policy(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), selector(obj["spec"].get("podSelector")), age(obj, now_s)]


def _ip_address(obj: Obj, now_s: float) -> list[Any]:
    """Upstream gives an age without a column for it."""
    parent, shown = (obj.get("spec") or {}).get("parentRef"), NONE
    if parent is not None:
        resource = parent.get("resource", "")
        parts = [f"{resource}.{parent['group']}" if parent.get("group") else resource]
        parts += [parent[key] for key in ("namespace", "name") if parent.get(key)]
        shown = "/".join(parts)
    return [name(obj), shown, age(obj, now_s)]


def _service_cidr(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), ",".join((obj.get("spec") or {}).get("cidrs") or ()), age(obj, now_s)]


TABLES: dict[tuple[str, str], Table] = {
    (GROUP, "Ingress"): Table(
        (
            NAME,
            Column(
                "Class",
                describe="The name of the IngressClass resource that should be used for additional configuration",
            ),
            Column(
                "Hosts", describe="Hosts that incoming requests are matched against before the ingress rule"
            ),
            Column("Address", describe="Address is a list containing ingress points for the load-balancer"),
            Column("Ports", describe="Ports of TLS configurations that open"),
            AGE,
        ),
        _ingress,
    ),
    (GROUP, "IngressClass"): Table(
        (
            NAME,
            Column("Controller", describe="Controller that is responsible for handling this class"),
            Column("Parameters", describe="A reference to a resource with additional parameters"),
            AGE,
        ),
        _ingress_class,
    ),
    (GROUP, "IPAddress"): Table((NAME, Column("ParentRef", describe="@spec.parentRef")), _ip_address),
    (GROUP, "NetworkPolicy"): Table(
        (NAME, Column("Pod-Selector", describe="@spec.podSelector"), AGE), _network_policy
    ),
    (GROUP, "ServiceCIDR"): Table((NAME, Column("CIDRs", describe="@spec.cidrs"), AGE), _service_cidr),
}
