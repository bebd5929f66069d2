"""Which of a replica set's pods go first when it shrinks (k8s.io/kubernetes/pkg/controller ActivePodsWithRanks).

    unassigned < assigned          pending < unknown < running      not ready < ready
    cheaper < dearer (KEP-2255)    shares its node with more siblings < with fewer
    ready for a short time < long  more restarts < fewer            younger < older

Both times are compared by their logarithm (KEP-2185): of pods of about the same age the one with the smaller UID
goes, which is as good as chance, so that a shrinking set does not empty the zone that was filled last.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable

from pilothouse.api.types import Obj
from pilothouse.controllers.pods import condition, is_ready, restarts
from pilothouse.kit.world import parse_timestamp

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_INT32_MAX = 2**31 - 1
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def surplus(pods: Iterable[Obj], related: Iterable[Obj], count: int, now_s: float) -> list[Obj]:
    """The `count` pods to go. `related` are the active pods of all sets with the same controller: those on one node
    are what makes a pod doubled up."""
    on_node: dict[str, int] = {}
    for pod in related:
        node = _node(pod)
        on_node[node] = on_node.get(node, 0) + 1

    def compare(a: Obj, b: Obj) -> int:
        first, second = _rank(a, on_node), _rank(b, on_node)
        if first != second:
            return -1 if first < second else 1
        return _by_age(_ready_since(a), _ready_since(b), a, b, now_s) or _by_restarts(a, b, now_s)

    return sorted(pods, key=functools.cmp_to_key(compare))[:count]


def deletion_cost(pod: Obj) -> int:
    """`controller.kubernetes.io/pod-deletion-cost`; 0 when absent or no canonical 32-bit integer."""
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    if not _INTEGER.fullmatch(text) or not -_INT32_MAX - 1 <= int(text) <= _INT32_MAX:
        return 0
    return int(text)


def _rank(pod: Obj, on_node: dict[str, int]) -> tuple[int, ...]:
    """What counts before the pods' ages."""
    node = _node(pod)
    return (
        1 if node else 0,
        _PHASES.get((pod.get("status") or {}).get("phase", ""), 0),
        1 if is_ready(pod) else 0,
        deletion_cost(pod),
        -on_node.get(node, 0),
    )


def _by_restarts(a: Obj, b: Obj, now_s: float) -> int:
    more, fewer = restarts(a), restarts(b)
    if more != fewer:
        return -1 if more > fewer else 1
    return _by_age(_created(a), _created(b), a, b, now_s)


def _by_age(a_s: float | None, b_s: float | None, a: Obj, b: Obj, now_s: float) -> int:
    """Later is younger; a time that is not known is the youngest."""
    if a_s == b_s:
        return 0
    if a_s is None or b_s is None:
        return -1 if a_s is None else 1
    difference = _magnitude(now_s - a_s) - _magnitude(now_s - b_s)
    if difference:
        return difference
    return -1 if a["metadata"]["uid"] < b["metadata"]["uid"] else 1


def _magnitude(age_s: float) -> int:
    """The binary logarithm of an age in nanoseconds; -1 for none (logarithmicRankDiff)."""
    return int(math.log2(age_s * 1e9)) if age_s > 0 else -1


def _node(pod: Obj) -> str:
    return (pod.get("spec") or {}).get("nodeName") or ""


def _created(pod: Obj) -> float | None:
    return _seconds(pod["metadata"].get("creationTimestamp"))


def _ready_since(pod: Obj) -> float | None:
    found = condition(pod, "Ready")
    return _seconds(found.get("lastTransitionTime")) if found is not None and is_ready(pod) else None


def _seconds(text: str | None) -> float | None:
    return parse_timestamp(text) if text else None
