"""What is remembered of rows is what would be found by looking again, whatever happened in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.api.types import Obj
from pilothouse.scheduler.cycle import Unschedulable, decide, feasible, scores
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.pod_info import pod_info
from pilothouse.scheduler.row_cache import RowCache, Rows
from tests.unit.scheduler import builders as b

_PROFILE = b.profile()


def _verdict(new: Obj, table: NodeTable) -> dict[str, int]:
    """The score of each node that fits."""
    cycle = b.cycle(new, table, using=_PROFILE)
    try:
        rows = np.flatnonzero(feasible(cycle))
    except Unschedulable:
        return {}
    return {table.name(int(row)): int(s) for row, s in zip(rows, scores(cycle, rows), strict=True)}


def _best(verdict: dict[str, int]) -> set[str]:
    return {name for name, score in verdict.items() if score == max(verdict.values())}


def _decision(new: Obj, table: NodeTable) -> str:
    """The node that a pod goes to; "" for none."""
    try:
        return decide(b.cycle(new, table, using=_PROFILE))
    except Unschedulable:
        return ""


@given(b.clusters(), st.lists(b.new_pods(), min_size=1, max_size=2), st.data())
def test_a_table_that_changes_says_the_same_as_a_new_one(
    cluster: tuple[list[Obj], list[Obj]], alike: Sequence[Obj], data: st.DataObject
) -> None:
    nodes, there = cluster
    by_name = {node["metadata"]["name"]: node for node in nodes}
    pods = {pod["metadata"]["uid"]: pod for pod in there}
    table = b.table(nodes, there)
    for _ in range(4):
        for new in alike:
            verdict = _verdict(new, b.table(by_name.values(), pods.values()))
            assert _verdict(new, table) == verdict
            assert _decision(new, table) in (_best(verdict) or {""})
        step = data.draw(st.sampled_from(("come", "go", "node changes", "node goes", "node comes")))
        if step == "come" and by_name:
            pod = b.pod(requests=data.draw(b.amounts), on=data.draw(st.sampled_from(sorted(by_name))))
            pods[pod["metadata"]["uid"]] = pod
            table.put_pod(pod_info(pod))
        elif step == "go" and pods:
            table.remove_pod(pods.pop(data.draw(st.sampled_from(sorted(pods))))["metadata"]["uid"])
        elif step == "node goes" and by_name:
            name = data.draw(st.sampled_from(sorted(by_name)))
            del by_name[name]
            table.remove_node(name)
        elif step in ("node changes", "node comes"):
            name = "new" if step == "node comes" or not by_name else sorted(by_name)[0]
            by_name[name] = b.node(name, data.draw(b.rooms), taints=data.draw(b.taints))
            table.put_node(by_name[name])


def test_only_rows_that_changed_are_worked_out_again() -> None:
    asked: list[list[int]] = []

    def compute(rows: Rows) -> Rows:
        asked.append(rows.tolist())
        return rows * 10

    def one(row: int) -> int:
        asked.append([row])
        return row * 10

    cache = RowCache(100)
    cache.column("k", compute, one)
    cache.changed(3)
    cache.changed(3)
    cache.column("k", compute, one)
    cache.column("k", compute, one)
    assert asked == [list(range(100)), [3]]


def test_after_very_many_changes_all_rows_are_worked_out_again() -> None:
    asked: list[int] = []

    def compute(rows: Rows) -> Rows:
        asked.append(len(rows))
        return rows

    def one(row: int) -> int:
        raise AssertionError("what has changed is not known any more")

    cache = RowCache(100)
    cache.column("k", compute, one)
    for _ in range(30_000):
        cache.changed(1)
    cache.column("k", compute, one)
    assert asked == [100, 100]


def test_a_supposition_leaves_nothing_behind() -> None:
    table = b.table([b.node("a", {"cpu": "1", "pods": "10"})], [])
    new = b.pod(requests={"cpu": "1"})
    guest = pod_info(b.pod(requests={"cpu": "1"}, on="a"))
    assert _verdict(new, table)
    with table.beside([guest]):
        assert not _verdict(new, table)
    assert _verdict(new, table)
