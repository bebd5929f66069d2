"""The cluster as NumPy columns: one row per node, kept up to date pod by pod.

Rows are reused; a column holds one number for every node. CPU counts in millicores, memory and other byte
sizes in bytes, everything else in units.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pilothouse.api import quantity
from pilothouse.api.types import Obj

Column = NDArray[np.float64]
Mask = NDArray[np.bool_]

_GROWTH = 64
PODS = "pods"
_DEFAULT_REQUEST = {"cpu": 100.0, "memory": 200.0 * 1024 * 1024}
"""What scoring takes a container without requests to use (GetNonzeroRequests)."""


def amount(name: str, text: str) -> float:
    """A quantity in the unit that the columns count in."""
    parsed = quantity.parse(str(text))
    return float(parsed.milli if name == "cpu" else parsed.value)


def pod_requests(pod: Obj) -> dict[str, float]:
    """What a pod asks of a node: the larger of its running containers' sum and any init step, plus overhead
    (resource.PodRequests; sidecars run on beside what follows them)."""
    return _requests(pod["spec"], {})


def scoring_requests(pod: Obj) -> dict[str, float]:
    """As `pod_requests`, with a little CPU and memory for containers that ask for none."""
    return _requests(pod["spec"], _DEFAULT_REQUEST)


def _requests(spec: Obj, default: dict[str, float]) -> dict[str, float]:
    total: dict[str, float] = {}
    for container in spec.get("containers") or ():
        _add(total, _container(container, default))
    sidecars: dict[str, float] = {}
    peak: dict[str, float] = {}
    for container in spec.get("initContainers") or ():
        asked = _container(container, default)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, asked)
            _raise_to(peak, sidecars)
        else:
            step = dict(sidecars)
            _add(step, asked)
            _raise_to(peak, step)
    _add(total, sidecars)
    _raise_to(total, peak)
    whole = (spec.get("resources") or {}).get("requests") or {}
    for name, text in whole.items():
        total[name] = amount(name, text)
    for name, text in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0.0) + amount(name, text)
    return total


def _container(container: Obj, default: dict[str, float]) -> dict[str, float]:
    requests = (container.get("resources") or {}).get("requests") or {}
    asked = {name: amount(name, text) for name, text in requests.items()}
    for name, value in default.items():
        asked.setdefault(name, value)
    return asked


def _add(total: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0.0) + value


def _raise_to(total: dict[str, float], floor: dict[str, float]) -> None:
    for name, value in floor.items():
        total[name] = max(total.get(name, 0.0), value)


def host_ports(pod: Obj) -> set[tuple[str, str, int]]:
    """(address, protocol, port) that a pod takes on its node."""
    found = set()
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*pod["spec"].get("containers", ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                address = port.get("hostIP") or "0.0.0.0"
                found.add((address, port.get("protocol", "TCP"), port["hostPort"]))
    return found


class NodeTable:
    """`nodes[row]` is the node object or None for a free row; `valid` masks the rows in use."""

    def __init__(self) -> None:
        self.nodes: list[Obj | None] = []
        self.valid: Mask = np.zeros(0, dtype=bool)
        self.unschedulable: Mask = np.zeros(0, dtype=bool)
        self.allocatable: dict[str, Column] = {}
        self.requested: dict[str, Column] = {}
        self.scored: dict[str, Column] = {}
        self.tainted: Mask = np.zeros(0, dtype=bool)
        self.ports: dict[int, dict[tuple[str, str, int], int]] = {}
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        self._pods: dict[str, tuple[int, Obj]] = {}
        self._waiting: dict[str, dict[str, Obj]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, name: str) -> int | None:
        return self._rows.get(name)

    def name(self, row: int) -> str:
        node = self.nodes[row]
        assert node is not None
        return str(node["metadata"]["name"])

    def column(self, table: dict[str, Column], name: str) -> Column:
        found = table.get(name)
        if found is None:
            found = table[name] = np.zeros(len(self.nodes))
        return found

    # -- nodes ------------------------------------------------------------------------------------------

    def put_node(self, node: Obj) -> None:
        name = node["metadata"]["name"]
        row = self._rows.get(name)
        if row is None:
            row = self._take_row()
            self._rows[name] = row
            self.ports[row] = {}
        self.nodes[row] = node
        self.valid[row] = True
        spec, status = node.get("spec") or {}, node.get("status") or {}
        self.unschedulable[row] = bool(spec.get("unschedulable"))
        self.tainted[row] = any(
            t["effect"] in ("NoSchedule", "NoExecute", "PreferNoSchedule") for t in spec.get("taints") or ()
        )
        allocatable = status.get("allocatable") or {}
        for column in self.allocatable.values():
            column[row] = 0
        for resource, text in allocatable.items():
            self.column(self.allocatable, resource)[row] = amount(resource, text)
        for pod in self._waiting.pop(name, {}).values():
            self.put_pod(pod)

    def remove_node(self, name: str) -> None:
        row = self._rows.pop(name, None)
        if row is None:
            return
        for uid, (at, pod) in list(self._pods.items()):
            if at == row:
                self.remove_pod(uid)
                self._waiting.setdefault(name, {})[uid] = pod
        self.valid[row] = False
        self.nodes[row] = None
        for table in (self.allocatable, self.requested, self.scored):
            for column in table.values():
                column[row] = 0
        del self.ports[row]
        self._free.append(row)

    def _take_row(self) -> int:
        if not self._free:
            size = len(self.nodes)
            self.nodes += [None] * _GROWTH
            self._free = list(range(size + _GROWTH - 1, size - 1, -1))
            self.valid = _grown(self.valid)
            self.unschedulable = _grown(self.unschedulable)
            self.tainted = _grown(self.tainted)
            for table in (self.allocatable, self.requested, self.scored):
                for name, column in table.items():
                    table[name] = np.concatenate([column, np.zeros(_GROWTH)])
        return self._free.pop()

    # -- pods -------------------------------------------------------------------------------------------

    def put_pod(self, pod: Obj) -> None:
        """A pod that runs, or is assumed to run, on its node."""
        uid, node_name = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        self.remove_pod(uid)
        row = self._rows.get(node_name)
        if row is None:
            self._waiting.setdefault(node_name, {})[uid] = pod
            return
        self._pods[uid] = (row, pod)
        self._count(row, pod, 1)

    def remove_pod(self, uid: str) -> None:
        entry = self._pods.pop(uid, None)
        if entry is not None:
            self._count(entry[0], entry[1], -1)
            return
        for waiting in self._waiting.values():
            waiting.pop(uid, None)

    def has_pod(self, uid: str) -> bool:
        return uid in self._pods

    def pods_on(self, row: int) -> Iterable[Obj]:
        return [pod for at, pod in self._pods.values() if at == row]

    def _count(self, row: int, pod: Obj, sign: int) -> None:
        for name, value in pod_requests(pod).items():
            self.column(self.requested, name)[row] += sign * value
        self.column(self.requested, PODS)[row] += sign
        for name, value in scoring_requests(pod).items():
            self.column(self.scored, name)[row] += sign * value
        taken = self.ports[row]
        for port in host_ports(pod):
            taken[port] = taken.get(port, 0) + sign
            if taken[port] <= 0:
                del taken[port]


def _grown(mask: Mask) -> Mask:
    return np.concatenate([mask, np.zeros(_GROWTH, dtype=bool)])
