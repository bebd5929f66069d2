"""Where data sets live, and how near to them a node is. Pure rules.

    pod annotation scheduling.pilothouse.dev/data-sets          imagenet=120Gi,labels     (sizes weigh; 1 without)
    pod annotation scheduling.pilothouse.dev/data-sets-within   topology.kubernetes.io/zone
                                                                farther nodes are out
    node label data-set.scheduling.pilothouse.dev/NAME          the node has it, unless the label says "false"

A node is as near to a data set as the narrowest topology that it shares with a copy: the node itself, its zone, its
region. That is MapReduce's order (Dean and Ghemawat, OSDI 2004, section 3.4: a task goes to a machine that has a
replica, else to one near it). A score does not wait for the better node, as delay scheduling does (Zaharia et al.,
EuroSys 2010): who must not go farther says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.scheduler.annotated import DOMAIN, InvalidAnnotation, annotations_of

DATA_SETS = f"{DOMAIN}/data-sets"
WITHIN = f"{DOMAIN}/data-sets-within"
HELD = f"data-set.{DOMAIN}/"
NODE = "kubernetes.io/hostname"
_SIZE_MAX = 10**15


class Level(NamedTuple):
    """A topology, by the label of its nodes, and what being in the same one is worth."""

    key: str
    score: int


LEVELS = (
    Level(NODE, 100),
    Level("topology.kubernetes.io/zone", 50),
    Level("topology.kubernetes.io/region", 25),
)
"""From near to far. The first is the node itself, whatever its label says."""


class Location(NamedTuple):
    """A data set that lives in topologies rather than on nodes: a file system of the zone, say."""

    key: str
    values: frozenset[str]


class Wanted(NamedTuple):
    """`within` is the key of the widest topology that will do; "" for any."""

    sizes: tuple[tuple[str, int], ...]
    within: str = ""


def wanted_by(pod: Obj, levels: Sequence[Level] = LEVELS) -> Wanted | None:
    """None for a pod that names no data set. InvalidAnnotation."""
    given = annotations_of(pod)
    text = given.get(DATA_SETS)
    if not text:
        return None
    within = given.get(WITHIN, "")
    keys = [level.key for level in levels]
    if within and within not in keys:
        raise InvalidAnnotation(WITHIN, within, f"one of {', '.join(keys)}")
    return Wanted(_sizes(text), within)


@lru_cache(maxsize=4096)
def _sizes(text: str) -> tuple[tuple[str, int], ...]:
    found = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, sign, size = part.partition("=")
        try:
            found[name] = min(quantity.parse(size).value, _SIZE_MAX) if sign else 1
        except ValueError:
            found[name] = 0
        if not name or found[name] < 1:
            raise InvalidAnnotation(
                DATA_SETS, text, "NAME or NAME=SIZE, by commas, such as imagenet=120Gi,labels"
            )
    return tuple(found.items())


def holds(node: Obj, name: str) -> bool:
    return _label(node, HELD + name) not in (None, "false")


def nearness(
    node: Obj,
    name: str,
    nodes: Iterable[Obj],
    levels: Sequence[Level] = LEVELS,
    locations: Mapping[str, Location] | None = None,
) -> int:
    """The plain rule: the number of the narrowest level at which a node is with a data set; as many as there are
    levels when it is nowhere near."""
    all_nodes = list(nodes)
    location = (locations or {}).get(name)
    for number, level in enumerate(levels):
        copies = [other for other in all_nodes if _is_at(other, name, location, level, levels)]
        if number == 0:
            if any(copy["metadata"]["name"] == node["metadata"]["name"] for copy in copies):
                return 0
            continue
        value = _label(node, level.key)
        if value is not None and any(_label(copy, level.key) == value for copy in copies):
            return number
    return len(levels)


def _is_at(node: Obj, name: str, location: Location | None, level: Level, levels: Sequence[Level]) -> bool:
    """Whether a node is where the data set is, as seen from a level: what lives in a zone is on no node of it."""
    if holds(node, name):
        return True
    if location is None or _label(node, location.key) not in location.values:
        return False
    keys = [each.key for each in levels]
    return keys.index(level.key) >= keys.index(location.key)


def _label(node: Obj, key: str) -> str | None:
    found: str | None = (node["metadata"].get("labels") or {}).get(key)
    return found


def score(levels_reached: Iterable[tuple[int, int]], levels: Sequence[Level] = LEVELS) -> int:
    """Of (nearness, size) of each data set: what each is worth, weighed by size."""
    worth, total = 0, 0
    for number, size in levels_reached:
        worth += size * (levels[number].score if number < len(levels) else 0)
        total += size
    return worth // total
