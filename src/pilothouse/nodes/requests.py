"""What a pod asks of its node, in whole units (CPU in thousandths): resource.PodRequests, for one pod at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pilothouse.api import quantity
from pilothouse.api.types import Obj

PODS = "pods"
Amounts = dict[str, int]
Port = tuple[str, str, int]
"""Address, protocol, number."""


class Requests(NamedTuple):
    """`amounts` has one of `pods` besides the resources."""

    amounts: Mapping[str, int]
    ports: tuple[Port, ...] = ()


def amount(name: str, text: str) -> int:
    parsed = quantity.parse(str(text))
    return parsed.milli if name == "cpu" else parsed.value


def amounts(resources: Mapping[str, str] | None) -> Amounts:
    return {name: amount(name, text) for name, text in (resources or {}).items()}


def of_pod(pod: Obj, given: Mapping[str, Obj] | None = None) -> Requests:
    """`given` replaces the resources of containers by name (what a resize has left them with)."""
    spec = pod["spec"]
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _asked(container, given))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        asked = _asked(container, given)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, asked)
            _raise(peak, sidecars)
        else:
            step = dict(sidecars)
            _add(step, asked)
            _raise(peak, step)
    _add(total, sidecars)
    _raise(total, peak)
    total.update(amounts((spec.get("resources") or {}).get("requests")))
    _add(total, amounts(spec.get("overhead")))
    total[PODS] = 1
    return Requests(total, host_ports(pod))


def host_ports(pod: Obj) -> tuple[Port, ...]:
    found: list[Port] = []
    for group in ("containers", "initContainers"):
        for container in pod["spec"].get(group) or ():
            for port in container.get("ports") or ():
                if port.get("hostPort"):
                    address = port.get("hostIP") or "0.0.0.0"
                    found.append((address, port.get("protocol", "TCP"), port["hostPort"]))
    return tuple(found)


def _asked(container: Obj, given: Mapping[str, Obj] | None) -> Amounts:
    resources = container.get("resources")
    if given:
        resources = given.get(container["name"], resources)
    return amounts((resources or {}).get("requests"))


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise(total: Amounts, floor: Amounts) -> None:
    for name, value in floor.items():
        total[name] = max(total.get(name, 0), value)
