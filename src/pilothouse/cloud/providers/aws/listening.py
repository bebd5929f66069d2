"""What a service asks of its network load balancer; pure
(https://kubernetes-sigs.github.io/aws-load-balancer-controller, annotations of the in-tree provider)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import CloudError

PREFIX = "service.beta.kubernetes.io/aws-load-balancer-"
_PROTOCOLS = ("TCP", "UDP")
ANYWHERE = ("0.0.0.0/0",)


@dataclass(frozen=True, slots=True)
class Listening:
    """One listener and the target group behind it."""

    protocol: str
    """TCP, UDP, or TCP_UDP for a port of both."""
    port: int
    node_port: int
    group: str
    """The target group's name: of what cannot be changed in one, so that a change makes another."""
    health_port: int = 0
    """0 asks the target port itself, by TCP; else an HTTP check of /healthz there (externalTrafficPolicy: Local)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    name: str
    scheme: str
    """internet-facing or internal."""
    listeners: tuple[Listening, ...]
    sources: tuple[str, ...]
    """Networks that may connect."""
    subnets: tuple[str, ...] = ()
    """() for those found by tag."""
    cross_zone: bool = False
    tags: dict[str, str] = field(default_factory=dict)


def name_of(service: Obj) -> str:
    """As upstream names them (cloudprovider.DefaultLoadBalancerName): 32 characters at most."""
    uid: str = service["metadata"]["uid"]
    return f"a{uid.replace('-', '')}"[:32]


def group_prefix(service: Obj) -> str:
    """Target groups of a service begin with it, and those of no other."""
    return f"k8s-{hashlib.sha256(service['metadata']['uid'].encode()).hexdigest()[:12]}-"


def wanted(service: Obj) -> Wanted:
    """CloudError for what a network load balancer cannot do, or an annotation that makes no sense."""
    spec = service["spec"]
    notes = {
        key.removeprefix(PREFIX): value
        for key, value in (service["metadata"].get("annotations") or {}).items()
        if key.startswith(PREFIX)
    }
    return Wanted(
        name_of(service),
        _scheme(notes),
        tuple(_listeners(service)),
        tuple(spec.get("loadBalancerSourceRanges") or ANYWHERE),
        tuple(_words(notes.get("subnets", ""))),
        notes.get("cross-zone-load-balancing-enabled") == "true",
        dict(_pair(word) for word in _words(notes.get("additional-resource-tags", ""))),
    )


def _scheme(notes: dict[str, str]) -> str:
    scheme = notes.get("scheme")
    if scheme is None:
        return "internal" if notes.get("internal", "false") not in ("", "false") else "internet-facing"
    if scheme not in ("internal", "internet-facing"):
        raise CloudError(f"{PREFIX}scheme is internal or internet-facing, not {scheme}")
    return scheme


def _listeners(service: Obj) -> list[Listening]:
    spec = service["spec"]
    local = spec.get("externalTrafficPolicy") == "Local"
    health = int(spec.get("healthCheckNodePort") or 0) if local else 0
    found: dict[int, Listening] = {}
    for port in spec["ports"]:
        protocol, number = port.get("protocol") or "TCP", int(port["port"])
        if protocol not in _PROTOCOLS:
            raise CloudError(
                f"protocol {protocol} of port {number} is none of a network load balancer's: TCP and UDP"
            )
        if not port.get("nodePort"):
            raise CloudError(f"port {number} has no node port: targets are instances, so it needs one")
        other = found.get(number)
        if other is not None:
            if other.node_port != port["nodePort"]:
                raise CloudError(f"port {number} of TCP and UDP needs one node port for both")
            protocol = "TCP_UDP"
        found[number] = _listening(service, protocol, number, int(port["nodePort"]), health)
    return list(found.values())


def _listening(service: Obj, protocol: str, port: int, node_port: int, health: int) -> Listening:
    facts = f"{protocol}/{node_port}/{health}"
    group = group_prefix(service) + hashlib.sha256(facts.encode()).hexdigest()[:12]
    return Listening(protocol, port, node_port, group, health)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _pair(word: str) -> tuple[str, str]:
    key, found, value = word.partition("=")
    if not found or not key:
        raise CloudError(f"{PREFIX}additional-resource-tags wants KEY=VALUE with commas between, not {word}")
    return key, value
