"""The order in which surplus pods go (ActivePodsWithRanks; KEP-2255, KEP-2185)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.types import Obj
from pilothouse.controllers.surplus import deletion_cost, surplus
from pilothouse.kit.world import timestamp

NOW_S = 1_700_000_000.0


def pod(
    name: str,
    *,
    node: str = "n",
    phase: str = "Running",
    ready_for_s: float | None = 1000,
    age_s: float = 2000,
    cost: str = "",
    **status: Any,
) -> Obj:
    ready: Obj = {"type": "Ready", "status": "False" if ready_for_s is None else "True"}
    if ready_for_s is not None:
        ready["lastTransitionTime"] = timestamp(NOW_S - ready_for_s)
    meta: Obj = {"name": name, "uid": name, "creationTimestamp": timestamp(NOW_S - age_s)}
    if cost:
        meta["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": cost}
    sidecar = {"name": "side", "restartPolicy": "Always"}
    return {
        "metadata": meta,
        "spec": {"nodeName": node, "initContainers": [sidecar, {"name": "once"}]} if node else {},
        "status": {"phase": phase, "conditions": [ready], **status},
    }


def restarted(field: str, name: str, count: int) -> Obj:
    return {field: [{"name": name, "restartCount": count}]}


CASES = {
    "unassigned before assigned": (pod("z", node="", cost="9"), pod("a", phase="Pending", ready_for_s=None)),
    "pending before unknown": (pod("z", phase="Pending", cost="9"), pod("a", phase="Unknown")),
    "unknown before running": (pod("z", phase="Unknown", cost="9"), pod("a")),
    "not ready before ready": (pod("z", ready_for_s=None, cost="9"), pod("a", cost="-9")),
    "cheaper before dearer": (pod("z", cost="-1", ready_for_s=9999), pod("a")),
    "ready for a short time first": (pod("z", ready_for_s=10), pod("a", ready_for_s=1000)),
    "not known since when before known": (pod("z", ready_for_s=0), pod("a", ready_for_s=1000)),
    "more restarts first": (pod("z", **restarted("containerStatuses", "c", 3)), pod("a")),
    "more restarts of sidecars first": (pod("z", **restarted("initContainerStatuses", "side", 3)), pod("a")),
    "younger first": (pod("z", age_s=1100), pod("a", age_s=90_000)),
    "about as long ready: by UID": (pod("a", ready_for_s=1050), pod("z", ready_for_s=1000)),
    "about as old: by UID": (pod("a", age_s=2050), pod("z", age_s=2000)),
    "ordinary init containers don't count": (
        pod("a", age_s=2050),
        pod("z", **restarted("initContainerStatuses", "once", 3)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_order(name: str) -> None:
    first, second = CASES[name]
    assert surplus([second, first], [], 1, NOW_S) == [first]
    assert surplus([first, second], [], 1, NOW_S) == [first]


def test_doubled_up_pods_go_before_long_ready_ones() -> None:
    """What counts is how many pods of the same controller are on the node, those of other sets too."""
    alone, doubled = pod("a", node="one", ready_for_s=10), pod("z", node="two", ready_for_s=9999)
    sibling = pod("s", node="two")
    assert surplus([alone, doubled], [alone, doubled, sibling], 1, NOW_S) == [doubled]
    assert surplus([alone, doubled], [], 1, NOW_S) == [alone], "a set without a controller has no relatives"


@pytest.mark.parametrize(
    ("text", "cost"),
    [("7", 7), ("-7", -7), ("0", 0), ("+7", 0), ("07", 0), ("-0", 0), (" 7", 0), ("x", 0), ("2147483648", 0)],
)
def test_costs_that_are_no_canonical_integer_are_none(text: str, cost: int) -> None:
    assert deletion_cost(pod("p", cost=text)) == cost
