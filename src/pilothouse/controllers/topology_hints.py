"""Topology-aware routing: which zone each endpoint serves, so that zones get endpoints as they have CPUs
(KEP-2433, https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/,
k8s.io/endpointslice/topologycache).

Every endpoint serves its own zone; then zones that have more than their share lend some to those that have less. Worked
example, two zones of the same size and four endpoints, three of them in `a`:

    a a a b   shares 2 and 2   →   a serves a, a serves a, a serves b, b serves b

What was given stays while it is within bounds: moving hints moves traffic. Where a zone would be overloaded by more
than a fifth, or nobody knows the zones, there are no hints at all, and an event says why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.controllers.pods import condition

ZONE = "topology.kubernetes.io/zone"
OVERLOAD = 0.2
ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"
_NO_NODE_INFO = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
_NO_ZONE = "One or more endpoints do not have a zone specified"
_TOO_FEW = "Insufficient number of endpoints"
_OVERLOADED = (
    "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
)
_EXCLUDED = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


class NoHints(Exception):
    """Why there are none."""


class Share(NamedTuple):
    """Of one zone, in endpoints."""

    most: int
    desired: float


def is_wanted(service: Obj) -> bool:
    """Whether a service asks for it by its annotation; the newer name goes first."""
    annotations = service["metadata"].get("annotations") or {}
    value = annotations.get("service.kubernetes.io/topology-mode")
    if value is None:
        value = annotations.get("service.kubernetes.io/topology-aware-hints", "")
    return value in ("Auto", "auto")


def node_facts(node: Obj) -> tuple[str, int] | None:
    """A node's zone and CPU in thousandths, "" and 0 for what it does not say; None for one that does not count."""
    labels = node["metadata"].get("labels") or {}
    ready = condition(node, "Ready")
    if any(label in labels for label in _EXCLUDED) or ready is None or ready["status"] != "True":
        return None
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    cpu = quantity.parse(str(allocatable.get("cpu", "0"))).milli
    return str(labels.get(ZONE, "")), cpu


def ratios(nodes: Iterable[Obj]) -> dict[str, float]:
    """Each zone's part of all CPUs; {} when a node does not say where it is or how large, or all are in one zone."""
    cpus: Counter[str] = Counter()
    for node in nodes:
        facts = node_facts(node)
        if facts is None:
            continue
        zone, cpu = facts
        if not zone or not cpu:
            return {}
        cpus[zone] += cpu
    total = sum(cpus.values())
    return {zone: cpu / total for zone, cpu in sorted(cpus.items())} if len(cpus) >= 2 else {}


def shares(parts: Mapping[str, float], count: int) -> dict[str, Share]:
    """What each zone should have of `count` endpoints. NoHints."""
    if not parts:
        raise NoHints(_NO_NODE_INFO)
    numbers = f"({count} endpoints, {len(parts)} zones)"
    if len(parts) > count:
        raise NoHints(f"{_TOO_FEW} {numbers}")
    desired = {zone: part * count for zone, part in parts.items()}
    least = {zone: math.ceil(wish * (1 / (1 + OVERLOAD))) for zone, wish in desired.items()}
    spare = count - sum(least.values())
    if spare < 0:
        raise NoHints(f"{_OVERLOADED} {numbers}")
    return {zone: Share(least[zone] + spare, max(desired[zone], least[zone])) for zone in parts}


def assign(endpoints: list[tuple[str, str]], parts: Mapping[str, float]) -> list[str]:
    """The zone that each endpoint serves. `endpoints` are ready ones: the zone it is in, and the one it serves now, ""
    for none. NoHints."""
    wanted = shares(parts, len(endpoints))
    if any(not zone for zone, _ in endpoints):
        raise NoHints(_NO_ZONE)
    kept = Counter(now for _, now in endpoints if now in wanted)
    out: list[str] = []
    free: list[int] = []
    for index, (zone, now) in enumerate(endpoints):
        if now in wanted and kept[now] <= wanted[now].most:
            out.append(now)
        else:
            out.append(zone)
            free.append(index)
    giving, receiving = _moves(wanted, Counter(out))
    for index in free:
        if giving[out[index]] > 0 and +receiving:
            to = next(zone for zone, number in sorted(receiving.items()) if number > 0)
            giving[out[index]] -= 1
            receiving[to] -= 1
            out[index] = to
    return out


def _moves(wanted: Mapping[str, Share], have: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """How many each zone gives and gets: from the one that has most too many to the one that lacks most, while the
    move is worth it."""
    left = {zone: have[zone] - share.desired for zone, share in wanted.items()}
    giving: Counter[str] = Counter()
    receiving: Counter[str] = Counter()
    while left:
        giver, taker = max(left, key=lambda z: left[z]), min(left, key=lambda z: left[z])
        surplus, lack = left[giver], -left[taker]
        if surplus < 0.5 or lack < 0.5 or (surplus < 1.0 and lack < 1.0):
            break
        giving[giver] += 1
        left[giver] -= 1
        receiving[taker] += 1
        left[taker] += 1
    return giving, receiving
