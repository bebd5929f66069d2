"""Admission on the node: what a kubelet checks again before it runs a pod (pkg/kubelet/lifecycle/predicate.go).

The rule (`refuse`) is apart from the books (`Books`), which know what is taken on every node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pilothouse.api import node_selector, taints
from pilothouse.api.pod_requests import ports_conflict
from pilothouse.api.types import Obj
from pilothouse.nodes.requests import PODS, Port, Requests, amounts

_CORE = ("cpu", "memory", "ephemeral-storage", PODS)


class Refusal(NamedTuple):
    """`reason` and `message` go into the pod's status."""

    reason: str
    message: str


class Usage:
    """What is taken on one node."""

    __slots__ = ("amounts", "ports")

    def __init__(self) -> None:
        self.amounts: dict[str, int] = {}
        self.ports: list[Port] = []

    def add(self, requests: Requests) -> None:
        for name, value in requests.amounts.items():
            self.amounts[name] = self.amounts.get(name, 0) + value
        self.ports += requests.ports

    def remove(self, requests: Requests) -> None:
        for name, value in requests.amounts.items():
            self.amounts[name] -= value
        for port in requests.ports:
            self.ports.remove(port)


class Books:
    """Which pods hold what on which node."""

    def __init__(self) -> None:
        self._usage: dict[str, Usage] = {}
        self._booked: dict[str, tuple[str, Requests]] = {}
        self._same: dict[tuple[tuple[str, int], ...], Requests] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._booked

    def usage(self, node: str) -> Usage:
        found = self._usage.get(node)
        if found is None:
            found = self._usage[node] = Usage()
        return found

    def book(self, uid: str, node: str, requests: Requests) -> None:
        self.release(uid)
        self.usage(node).add(requests)
        self._booked[uid] = (node, self._shared(requests))

    def release(self, uid: str) -> None:
        entry = self._booked.pop(uid, None)
        if entry is not None:
            self._usage[entry[0]].remove(entry[1])

    def without(self, uid: str, node: str) -> Usage:
        """What all others take."""
        usage = Usage()
        usage.amounts.update(self.usage(node).amounts)
        usage.ports += self.usage(node).ports
        entry = self._booked.get(uid)
        if entry is not None:
            usage.remove(entry[1])
        return usage

    def _shared(self, requests: Requests) -> Requests:
        """Pods of one template share one record."""
        if requests.ports:
            return requests
        key = tuple(requests.amounts.items())
        if len(self._same) > 1024:
            self._same.clear()
        return self._same.setdefault(key, requests)


def refuse(pod: Obj, node: Obj, taken: Usage, requests: Requests) -> Refusal | None:
    """Why this node may not run the pod beside what is `taken`; None when it may."""
    system = _other_system(pod, node)
    if system is not None:
        return system
    allocatable = amounts((node.get("status") or {}).get("allocatable"))
    short = shortage(allocatable, taken.amounts, requests.amounts)
    if short is not None:
        return short
    if not node_selector.matches(pod, node):
        return _failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    if pod["spec"].get("nodeName", node["metadata"]["name"]) != node["metadata"]["name"]:
        return _failed("NodeName", "node(s) didn't match the requested node name")
    if any(ports_conflict(a, b) for a in requests.ports for b in taken.ports):
        return _failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    if taints.untolerated(pod, taints.of_node(node), (taints.NO_EXECUTE,)) is not None:
        return _failed("TaintToleration", "node(s) had untolerated taint(s)")
    return None


def _failed(predicate: str, why: str) -> Refusal:
    return Refusal(predicate, f"Predicate {predicate} failed: {why}")


def _other_system(pod: Obj, node: Obj) -> Refusal | None:
    wanted = (pod["metadata"].get("labels") or {}).get("kubernetes.io/os")
    here = (node["metadata"].get("labels") or {}).get("kubernetes.io/os", "linux")
    if wanted is not None and wanted != here:
        text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        return Refusal("PodOSSelectorNodeLabelDoesNotMatch", text)
    system = (pod["spec"].get("os") or {}).get("name")
    if system is not None and system != here:
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    return None


def shortage(
    allocatable: Mapping[str, int], taken: Mapping[str, int], requested: Mapping[str, int]
) -> Refusal | None:
    """The first resource that is short. An extended resource that the node does not know is not looked at."""
    order = (PODS, "cpu", "memory", "ephemeral-storage", *(n for n in requested if n not in _CORE))
    for name in order:
        asked = requested.get(name, 0)
        capacity = allocatable.get(name)
        if not asked or (capacity is None and name not in _CORE):
            continue
        used = taken.get(name, 0)
        if used + asked > (capacity or 0):
            return Refusal(
                f"OutOf{name}",
                f"Node didn't have enough resource: {name}, requested: {asked}, used: {used}, "
                f"capacity: {capacity or 0}",
            )
    return None
