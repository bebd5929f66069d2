"""What a pod asks of its node, in whole units: CPU in thousandths, memory and other sizes in bytes
(k8s.io/component-helpers/resource PodRequests).

    what its containers add up to (`pod_sum`); pod-level requests instead where given; plus the RuntimeClass' overhead

`pod_resources` does the same in exact quantities, for those who must show them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pilothouse.api import quantity
from pilothouse.api.pod_sum import over_containers
from pilothouse.api.types import Obj

Amounts = dict[str, int]
Port = tuple[str, str, int]
"""Address, protocol, number."""

ANY_ADDRESS = "0.0.0.0"
_NONE: Mapping[str, int] = {}


def amount(name: str, text: object) -> int:
    """A quantity in the unit in which its resource is counted, rounded up."""
    parsed = quantity.parse(str(text))
    return parsed.milli if name == "cpu" else parsed.value


def amounts(resources: Mapping[str, object] | None) -> Amounts:
    return {name: amount(name, text) for name, text in (resources or {}).items()}


def pod_requests(
    pod: Obj, *, default: Mapping[str, int] = _NONE, given: Mapping[str, Mapping[str, int]] | None = None
) -> Amounts:
    """`default` is what a container without a request of its own is taken to ask for; `given` replaces the requests
    of containers by name (what an in-place resize has left them with), and makes a resize of the pod itself count."""
    spec = pod["spec"]

    def asked(container: Obj) -> Amounts:
        replaced = given.get(container["name"]) if given else None
        found = _requests(container) if replaced is None else dict(replaced)
        for name, value in default.items():
            found.setdefault(name, value)
        return found

    total = over_containers(spec, asked, _add, _raise)
    total.update(_requests(spec) if given is None else _allotted_to_pod(pod))
    _add(total, amounts(spec.get("overhead")))
    return total


def _requests(owner: Obj) -> Amounts:
    """Of a container, or of a pod's spec."""
    return amounts((owner.get("resources") or {}).get("requests"))


def allotted(pod: Obj) -> dict[str, Amounts]:
    """Requests by container of a pod whose kubelet has reported some: the larger of what is asked and what is held,
    so that a resize counts until it has happened; only what is held when the kubelet has found the resize infeasible
    (KEP-1287). Containers of which the spec says it all are left out."""
    held = _held(pod)
    if not held:
        return {}
    infeasible = _is_infeasible(pod)
    found: dict[str, Amounts] = {}
    for container in _containers(pod):
        has = held.get(container["name"])
        if has is not None:
            wanted = {} if infeasible else _requests(container)
            _raise(wanted, has)
            found[container["name"]] = wanted
    return found


def _allotted_to_pod(pod: Obj) -> Amounts:
    """Requests of the pod as a whole, by the same rule (KEP-5419); none when its spec has none."""
    asked, status = _requests(pod["spec"]), pod.get("status") or {}
    if not asked or status.get("resources") is None:
        return asked
    found = {} if _is_infeasible(pod) else dict(asked)
    _raise(found, amounts(status.get("allocatedResources")))
    _raise(found, _requests(status))
    return found


def _held(pod: Obj) -> dict[str, Amounts]:
    status, found = pod.get("status") or {}, {}
    for group in ("containerStatuses", "initContainerStatuses"):
        for entry in status.get(group) or ():
            held = amounts(entry.get("allocatedResources"))
            _raise(held, amounts((entry.get("resources") or {}).get("requests")))
            if held:
                found[entry["name"]] = held
    return found


def _is_infeasible(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "PodResizePending" and c.get("reason") == "Infeasible" for c in conditions)


def _containers(pod: Obj) -> Iterator[Obj]:
    for group in ("containers", "initContainers"):
        yield from pod["spec"].get(group) or ()


def host_ports(pod: Obj) -> tuple[Port, ...]:
    """Ports of the node that a pod takes: those of its containers and its sidecars."""
    found: list[Port] = []
    spec = pod["spec"]
    sidecars = (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                address = port.get("hostIP") or ANY_ADDRESS
                found.append((address, port.get("protocol") or "TCP", port["hostPort"]))
    return tuple(found)


def ports_conflict(a: Port, b: Port) -> bool:
    """The same protocol and number on addresses that overlap."""
    return a[1:] == b[1:] and (a[0] == b[0] or ANY_ADDRESS in (a[0], b[0]))


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise(total: Amounts, floor: Mapping[str, int]) -> None:
    for name, value in floor.items():
        total[name] = max(total.get(name, 0), value)
