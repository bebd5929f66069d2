"""NodePorts: two pods cannot have the same host port (pkg/scheduler/framework/plugins/nodeports)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Mask, NodeTable, host_ports
from pilothouse.scheduler.plugins.filter import Rejection

REASON = "node(s) didn't have free ports for the requested pod ports"
_ANY = "0.0.0.0"


class NodePorts:
    name = "NodePorts"

    def filter(self, pod: Obj, table: NodeTable, left: Mask) -> list[Rejection]:
        wanted = host_ports(pod)
        if not wanted:
            return []
        out = np.zeros(len(left), dtype=bool)
        for row in np.flatnonzero(left):
            if conflicts(wanted, table.ports[int(row)]):
                out[row] = True
        return [Rejection(out, REASON)] if out.any() else []


def conflicts(wanted: set[tuple[str, str, int]], taken: Iterable[tuple[str, str, int]]) -> bool:
    """Same protocol and port on overlapping addresses."""
    for address, protocol, port in taken:
        for other, other_protocol, other_port in wanted:
            same = (protocol, port) == (other_protocol, other_port)
            if same and (address == other or _ANY in (address, other)):
                return True
    return False
