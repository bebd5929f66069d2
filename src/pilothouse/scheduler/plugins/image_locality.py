"""ImageLocality: nodes that have a pod's images score higher (pkg/scheduler/framework/plugins/imagelocality).

An image counts by its size, and by the share of nodes that have it: else all pods of a new image would follow the
first one to its node. The plain rule is `locality`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import SCORE_MAX, Cycle, PreScorePlugin, Rows, ScorePlugin
from pilothouse.scheduler.images import sizes
from pilothouse.scheduler.node_table import Column
from pilothouse.scheduler.pod_info import PodInfo

_MIB = 1024 * 1024
_LEAST = 23 * _MIB
_MOST_PER_CONTAINER = 1000 * _MIB
"""Nine tenths of the images on Docker Hub lie between the two."""


class ImageLocality(PreScorePlugin, ScorePlugin):
    name = "ImageLocality"

    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        """Left out while no node has any of the images: all would score 0."""
        table = cycle.table
        if not table.knows_images:
            return False
        found = [table.image(name) for name in images_of(cycle.info.pod)]
        present = [image for image in found if image.nodes]
        cycle.state[self.name] = present
        return bool(present)

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        total: Column = np.zeros(len(rows), dtype=np.int64)
        for image in cycle.state[self.name]:
            total += image.at[rows] * int(image.size * (image.nodes / len(cycle.table)))
        most = _most(cycle.info.pod)
        scaled: Column = SCORE_MAX * (np.clip(total, _LEAST, most) - _LEAST) // (most - _LEAST)
        return scaled


def images_of(pod: Obj) -> list[str]:
    """Of init containers, containers and image volumes, as nodes name them."""
    spec = pod["spec"]
    found = [c.get("image", "") for c in (*(spec.get("initContainers") or ()), *spec["containers"])]
    volumes = (volume.get("image") for volume in spec.get("volumes") or ())
    found += [volume.get("reference", "") for volume in volumes if volume is not None]
    return [normalized_name(name) for name in found]


def normalized_name(name: str) -> str:
    """With the tag that is meant where none is given."""
    return f"{name}:latest" if name.rfind(":") <= name.rfind("/") else name


def _most(pod: Obj) -> int:
    """Image volumes do not raise the bound (https://github.com/kubernetes/kubernetes/issues/138952)."""
    spec = pod["spec"]
    return _MOST_PER_CONTAINER * (len(spec.get("initContainers") or ()) + len(spec["containers"]))


def locality(info: PodInfo, node: Obj, nodes: Sequence[Obj]) -> int:
    """The plain score of one node among all; sizes do not differ between nodes."""
    has, total = sizes(node), 0
    for name in images_of(info.pod):
        if name in has:
            spread = sum(1 for other in nodes if name in sizes(other)) / len(nodes)
            total += int(has[name] * spread)
    most = _most(info.pod)
    return SCORE_MAX * (min(max(total, _LEAST), most) - _LEAST) // (most - _LEAST)
