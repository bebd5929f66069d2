"""VolumeBinding with scores by how full storage becomes, which it has with the feature gate StorageCapacityScoring
(alpha and off in 1.36; KEP-4049, pkg/scheduler/framework/plugins/volumebinding/scorer.go).

    per class    asked ÷ size of the volumes that are there     where claims get such
                 asked ÷ room that the driver reports           where all volumes are made anew

A shape makes a score of each share, and a node gets the mean over classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pilothouse.api import quantity, volumes
from pilothouse.api.types import Obj
from pilothouse.api.volumes import asked
from pilothouse.client.informer import key_of
from pilothouse.scheduler.framework import Cycle, PreScorePlugin, Rows, ScorePlugin
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.node_table import Column
from pilothouse.scheduler.plugins.resource_scoring import Strategy, by_ratio
from pilothouse.scheduler.plugins.volume_binding import TIMEOUT_S, VolumeBinding
from pilothouse.scheduler.storage import Storage
from pilothouse.scheduler.volume_binding import Claims, Plan, Search


class VolumeBindingByCapacity(VolumeBinding, PreScorePlugin, ScorePlugin):
    def __init__(
        self,
        storage: Storage,
        shape: Sequence[Obj],
        handle: Handle | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        super().__init__(storage, handle, timeout_s)
        self._by_share = by_ratio(shape)

    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        claims: Claims | None = cycle.state.get(self.name)
        return claims is not None and bool(claims.waiting)

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        claims: Claims | None = cycle.state.get(self.name)
        if claims is None:
            return np.zeros(len(rows), dtype=np.int64)
        plans, numbers = Search(cycle.table, self._storage).plans(claims, rows)
        found: Column = np.array([score(plan, self._by_share) for plan in plans], dtype=np.int64)[numbers]
        return found


def score(plan: Plan, by_share: Strategy) -> int:
    """Of one node."""
    shares = [_share(asked_, there, by_share) for asked_, there in _by_class(plan).values()]
    return math.floor(sum(shares) / len(shares) + 0.5) if shares else 0


def _share(asked_: int, there: int, by_share: Strategy) -> int:
    return by_share.plain(asked_, there) if there and asked_ <= there else by_share.plain(1, 1)


def _by_class(plan: Plan) -> dict[str, tuple[int, int]]:
    """Bytes that are asked for, and bytes that there are."""
    found: dict[str, tuple[int, int]] = {}
    for volume, claim in plan.bindings:
        name = volumes.class_of(volume)
        before, there = found.get(name, (0, 0))
        found[name] = before + asked(claim), there + volumes.capacity(volume)
    if found:
        return found
    for claim in plan.provisions:
        pool = plan.pools.get(key_of(claim))
        if pool is not None:
            name = volumes.class_of(claim)
            before, _ = found.get(name, (0, 0))
            found[name] = before + asked(claim), quantity.parse(str(pool.get("capacity") or "0")).value
    return found
