"""NodeName: a pod that names its node may have no other (pkg/scheduler/framework/plugins/nodename)."""

from __future__ import annotations

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Mask, NodeTable
from pilothouse.scheduler.plugins.filter import Rejection

REASON = "node(s) didn't match the requested node name"


class NodeName:
    name = "NodeName"

    def filter(self, pod: Obj, table: NodeTable, left: Mask) -> list[Rejection]:
        wanted = pod["spec"].get("nodeName")
        if not wanted:
            return []
        other = left.copy()
        row = table.row(wanted)
        if row is not None:
            other[row] = False
        return [Rejection(other, REASON)] if np.any(other) else []


def fits(pod: Obj, node: Obj) -> bool:
    wanted = pod["spec"].get("nodeName")
    return not wanted or bool(wanted == node["metadata"]["name"])
