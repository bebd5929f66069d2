"""Making room on many nodes at once says what asking node by node says, and costs the same pods."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.types import Obj
from pilothouse.scheduler import preemption, room
from pilothouse.scheduler.cycle import Unschedulable, feasible
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.nominator import Nominator
from pilothouse.scheduler.pod_info import pod_info
from tests.unit.scheduler import builders as b

_STARTS = ("", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")


@st.composite
def _full_clusters(draw: st.DrawFn) -> tuple[list[Obj], list[Obj], list[Obj], list[Obj]]:
    """Nodes, pods on them with priorities, budgets, and pods that nodes are nominated for."""
    nodes = draw(b.nodes())
    there, coming = [], []
    for node in nodes:
        for _ in range(draw(st.integers(0, 4))):
            there.append(_pod(draw, on=node["metadata"]["name"]))
        if draw(st.booleans()):
            coming.append(_pod(draw, status={"nominatedNodeName": node["metadata"]["name"]}))
    budgets = [
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"disruptionsAllowed": draw(st.integers(0, 2))},
        }
    ]
    return nodes, there, draw(st.sampled_from(([], budgets))), coming


def _pod(draw: st.DrawFn, **fields: Any) -> Obj:
    fields.setdefault("status", {"startTime": draw(st.sampled_from(_STARTS))})
    return b.pod(
        requests=draw(b.amounts),
        priority=draw(st.integers(0, 3)),
        labels={"app": draw(st.sampled_from(("web", "db")))},
        **fields,
    )


@given(_full_clusters(), b.new_pods())
def test_it_agrees_with_asking_node_by_node(
    cluster: tuple[list[Obj], list[Obj], list[Obj], list[Obj]], new: Obj
) -> None:
    nodes, there, budgets, coming = cluster
    new["spec"]["priority"] = 2
    table = b.table(nodes, there)
    nominator = Nominator()
    for pod in coming:
        nominator.put(pod_info(pod), pod["status"]["nominatedNodeName"])
    cycle = b.cycle(new, table, guests=nominator.pods())
    try:
        feasible(cycle)
    except Unschedulable as refusal:
        rows = np.flatnonzero(refusal.diagnosis.resolvable)
    else:
        return
    if room.rule(cycle) is None:
        return
    slow_reasons: dict[str, int] = {}
    slow = [preemption.on_row(cycle, int(row), budgets, slow_reasons) for row in rows]
    fast_reasons: dict[str, int] = {}
    fast = list(preemption.one_by_one(cycle, rows, budgets, fast_reasons, 100))
    assert fast == [candidate for candidate in slow if candidate is not None]
    assert fast_reasons == slow_reasons


def test_where_pods_count_in_other_ways_each_node_is_asked() -> None:
    table: NodeTable = b.table([b.node("a")], [])
    plain = b.cycle(b.pod(requests={"cpu": "1"}), table)
    assert room.rule(plain) is not None
    ports = b.cycle(b.pod(requests={"cpu": "1"}, ports=[80]), table)
    assert room.rule(ports) is None
