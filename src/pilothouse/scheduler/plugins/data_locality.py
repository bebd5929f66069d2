"""DataLocality: pods go near the data sets that they name (new here; the rules stand in `scheduler.locality`).

Arguments: `levels`, the topologies from near to far with what each is worth
([{key: kubernetes.io/hostname, score: 100}, …]), and `dataSets` that live in topologies rather than on nodes
([{name: imagenet, topologyKey: topology.kubernetes.io/zone, values: [eu-1]}]).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.annotated import InvalidAnnotation, unknown_args
from pilothouse.scheduler.framework import (
    SCORE_MAX,
    Cycle,
    FilterPlugin,
    PreScorePlugin,
    Rejection,
    Rows,
    ScorePlugin,
)
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.hints import NODE, Action, Registration
from pilothouse.scheduler.locality import HELD, LEVELS, Level, Location, Wanted, wanted_by
from pilothouse.scheduler.node_table import Column, Mask, NodeTable
from pilothouse.scheduler.teller import INVALID, Teller


class DataLocality(FilterPlugin, PreScorePlugin, ScorePlugin):
    name = "DataLocality"

    def __init__(self, args: Obj, handle: Handle) -> None:
        """ValueError for arguments that it does not have, or that make no sense."""
        unknown_args(args, ("levels", "dataSets"))
        self._levels = _levels(args.get("levels") or ())
        self._locations = _locations(args.get("dataSets") or (), self._levels)
        self._teller = Teller(handle)

    def registrations(self) -> Iterable[Registration]:
        return (Registration(NODE, Action.ADD | Action.UPDATE_NODE_LABEL),)

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        wanted = self._wanted(cycle)
        if wanted is None or not wanted.within:
            return
        farthest = [level.key for level in self._levels].index(wanted.within)
        for name, _ in wanted.sizes:
            reached = self._reached(cycle.table, name)
            yield Rejection(
                reached > farthest, f'node(s) were too far from data set "{name}"', resolvable=False
            )

    def counts_pods(self, cycle: Cycle) -> bool:
        return False

    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        """Left out when no node is near to any of the data."""
        wanted = self._wanted(cycle)
        if wanted is None:
            return False
        worth = np.array([*(level.score for level in self._levels), 0], dtype=np.int64)
        total: Column = np.zeros(len(rows), dtype=np.int64)
        for name, size in wanted.sizes:
            total += size * worth[self._reached(cycle.table, name)[rows]]
        cycle.state[self.name] = total // sum(size for _, size in wanted.sizes)
        return bool(total.any())

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        found: Column = cycle.state[self.name]
        return found

    def _wanted(self, cycle: Cycle) -> Wanted | None:
        info = cycle.info
        if not info.pod["metadata"].get("annotations"):
            return None
        try:
            return wanted_by(info.pod, self._levels)
        except InvalidAnnotation as error:
            self._teller.tell(info, INVALID, str(error))
            return None

    def _reached(self, table: NodeTable, name: str) -> Column:
        """For each row the number of the narrowest level at which it is with a data set."""
        held = table.labels(HELD + name)
        present = np.array([*(value != "false" for value in held.values), False], dtype=bool)[held.codes]
        location = self._locations.get(name)
        reached: Column = np.full(table.size, len(self._levels), dtype=np.int64)
        for number in reversed(range(len(self._levels))):
            copies = present | self._living_there(table, location, number)
            if number:
                copies = _sharing(table, self._levels[number].key, copies)
            reached[copies] = number
        return reached

    def _living_there(self, table: NodeTable, location: Location | None, number: int) -> Mask:
        """Rows of the topologies where it lives, at this level or a wider one."""
        found = table.empty_mask()
        keys = [level.key for level in self._levels]
        if location is None or number < keys.index(location.key):
            return found
        labels = table.labels(location.key)
        for value in location.values:
            code = labels.number(value)
            if code is not None:
                found |= labels.codes == code
        return found


def _sharing(table: NodeTable, key: str, copies: Mask) -> Mask:
    """Rows with the same value of a label as one of the copies."""
    labels = table.labels(key)
    near = np.zeros(len(labels.values) + 1, dtype=bool)
    near[labels.codes[copies]] = True
    near[-1] = False  # at -1, which is ABSENT
    shared: Mask = near[labels.codes]
    return shared


def _levels(given: Iterable[Obj]) -> tuple[Level, ...]:
    try:
        found = tuple(Level(str(entry["key"]), entry["score"]) for entry in given)
    except (KeyError, TypeError):
        raise ValueError("levels: an entry is {key: topology.kubernetes.io/zone, score: 50}") from None
    for level in found:
        if not isinstance(level.score, int) or not 0 <= level.score <= SCORE_MAX:
            raise ValueError(
                f"levels: the score of {level.key} must be from 0 to {SCORE_MAX}, not {level.score}"
            )
    if found and found[0].key != LEVELS[0].key:
        raise ValueError(f"levels: the first one is {LEVELS[0].key}, the node itself")
    return found or LEVELS


def _locations(given: Iterable[Obj], levels: Iterable[Level]) -> Mapping[str, Location]:
    keys = [level.key for level in levels]
    found = {}
    for entry in given:
        try:
            location = Location(entry["topologyKey"], frozenset(entry["values"]))
            found[entry["name"]] = location
        except (KeyError, TypeError):
            raise ValueError(
                "dataSets: an entry is {name: imagenet, topologyKey: topology.kubernetes.io/zone, values: [eu-1]}"
            ) from None
        if location.key not in keys:
            raise ValueError(
                f"dataSets: topologyKey must be one of levels' keys {', '.join(keys)}, not {location.key}"
            )
    return found
