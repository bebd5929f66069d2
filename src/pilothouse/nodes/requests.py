"""What a pod takes of its node: its requests and host ports, and one of the places for pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pilothouse.api.pod_requests import Amounts, Port, amounts, host_ports, pod_requests
from pilothouse.api.types import Obj

PODS = "pods"


class Requests(NamedTuple):
    """`amounts` has one of `pods` besides the resources."""

    amounts: Mapping[str, int]
    ports: tuple[Port, ...] = ()


def of_pod(pod: Obj, given: Mapping[str, Obj] | None = None) -> Requests:
    """`given` replaces the resources of containers by name (what a resize has left them with)."""
    held = {name: amounts(resources.get("requests")) for name, resources in (given or {}).items()}
    total = pod_requests(pod, given=held)
    total[PODS] = 1
    return Requests(total, host_ports(pod))


__all__ = ["PODS", "Amounts", "Port", "Requests", "amounts", "of_pod"]
