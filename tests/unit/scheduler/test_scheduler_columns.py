"""Every rule on columns says of every node what the plain rule beside it says of that node alone, on generated
clusters; and the table's columns are what counting anew would give, whatever came and went."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api import node_selector
from pilothouse.api.pod_requests import amounts
from pilothouse.api.types import Obj
from pilothouse.scheduler import selection
from pilothouse.scheduler.framework import FilterPlugin
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.plugins import (
    balanced_allocation,
    node_affinity,
    node_name,
    node_ports,
    node_resources_fit,
    node_unschedulable,
    resource_scoring,
    taint_toleration,
)
from pilothouse.scheduler.pod_info import PodInfo, pod_info
from tests.unit.scheduler import builders as b

Cluster = tuple[list[Obj], list[Obj]]
Plain = Callable[[PodInfo, Obj, list[PodInfo]], bool]

RULES: list[tuple[FilterPlugin, Plain]] = [
    (node_unschedulable.NodeUnschedulable(), lambda info, node, _: node_unschedulable.fits(info.pod, node)),
    (node_name.NodeName(), lambda info, node, _: node_name.fits(info.pod, node)),
    (taint_toleration.TaintToleration(), lambda info, node, _: taint_toleration.fits(info.pod, node)),
    (node_affinity.NodeAffinity(), lambda info, node, _: node_selector.matches(info.pod, node)),
    (node_ports.NodePorts(), lambda info, node, others: node_ports.fits(info, others)),
    (
        node_resources_fit.NodeResourcesFit(),
        lambda info, node, others: not node_resources_fit.fits(info, node, others),
    ),
]


def _let_through(plugin: FilterPlugin, pod: Obj, table: NodeTable) -> set[str]:
    left = table.valid.copy()
    for rejection in plugin.filter(b.cycle(pod, table), table.valid.copy()):
        left &= ~rejection.mask
    return {table.name(int(row)) for row in np.flatnonzero(left)}


@pytest.mark.parametrize(("plugin", "plain"), RULES, ids=lambda x: getattr(x, "name", ""))
@settings(max_examples=150, deadline=None)
@given(cluster=b.clusters(), pod=b.new_pods(), named=st.sampled_from(("", "n0", "n5")))
def test_a_filter_on_columns_agrees_with_its_plain_rule(
    plugin: FilterPlugin, plain: Plain, cluster: Cluster, pod: Obj, named: str
) -> None:
    nodes, pods = cluster
    if plugin.name == "NodeName" and named:
        pod["spec"]["nodeName"] = named
    info = pod_info(pod)
    expected = {
        n["metadata"]["name"]
        for n in nodes
        if plain(info, n, [pod_info(p) for p in pods if p["spec"]["nodeName"] == n["metadata"]["name"]])
    }
    assert _let_through(plugin, pod, b.table(nodes, pods)) == expected


@settings(max_examples=150, deadline=None)
@given(cluster=b.clusters(), pod=b.new_pods())
def test_resource_scores_agree_with_the_plain_ones(cluster: Cluster, pod: Obj) -> None:
    nodes, pods = cluster
    table = b.table(nodes, pods)
    rows = np.flatnonzero(table.valid)
    info = pod_info(pod)
    fit = node_resources_fit.NodeResourcesFit().score(b.cycle(pod, table), rows)
    even = balanced_allocation.BalancedAllocation().score(b.cycle(pod, table), rows)
    for row, least, balance in zip(rows, fit, even, strict=True):
        node, others = table.node(int(row)), table.pods_on(int(row))
        assert least == resource_scoring.plain_score(
            resource_scoring.least_allocated(), info, amounts(node["status"]["allocatable"]), others
        )
        assert balance == balanced_allocation.balance(info, node, others)


@settings(max_examples=150, deadline=None)
@given(nodes=b.nodes(), pod=b.new_pods())
def test_preferences_rank_nodes_as_the_plain_ones_do(nodes: list[Obj], pod: Obj) -> None:
    table = b.table(nodes)
    rows = np.flatnonzero(table.valid)
    plugin = node_affinity.NodeAffinity()
    cycle = b.cycle(pod, table)
    if not plugin.pre_score(cycle, rows):
        return
    plain = [node_selector.preference(pod, table.node(int(row))) for row in rows]
    best = max(plain)
    assert list(plugin.score(cycle, rows)) == [p * 100 // best if best else 0 for p in plain]


@settings(max_examples=150, deadline=None)
@given(nodes=b.nodes(), pod=b.new_pods())
def test_soft_taints_rank_nodes_as_the_plain_rule_does(nodes: list[Obj], pod: Obj) -> None:
    table = b.table(nodes)
    rows = np.flatnonzero(table.valid)
    counts = [taint_toleration.soft_taints(pod, table.node(int(r))["spec"].get("taints") or ()) for r in rows]
    most = max(counts)
    expected = [100 - c * 100 // most if most else 100 for c in counts]
    assert list(taint_toleration.TaintToleration().score(b.cycle(pod, table), rows)) == expected


@settings(max_examples=100, deadline=None)
@given(nodes=b.nodes(), term=b.terms)
def test_a_term_on_columns_matches_what_it_matches_alone(nodes: list[Obj], term: Obj) -> None:
    table = b.table(nodes)
    matched = {table.name(int(row)) for row in np.flatnonzero(selection.one_term(table, term))}
    assert matched == {n["metadata"]["name"] for n in nodes if node_selector.term_matches(term, n)}


@settings(max_examples=100, deadline=None)
@given(cluster=b.clusters(), chance=st.randoms(use_true_random=False))
def test_columns_are_what_counting_anew_gives(cluster: Cluster, chance: object) -> None:
    """Nodes and pods come in any order, change and go; what is left counts once."""
    nodes, pods = cluster
    table = b.table(nodes, pods)
    table.labels("zone")
    leave_nodes = [n for n in nodes if chance.random() < 0.3]  # type: ignore[attr-defined]
    for node in leave_nodes:
        table.remove_node(node["metadata"]["name"])
    gone = [p for p in pods if chance.random() < 0.4]  # type: ignore[attr-defined]
    for pod in gone:
        table.remove_pod(pod["metadata"]["uid"])
    for node in leave_nodes:
        table.put_node({**node, "metadata": {**node["metadata"], "labels": {"zone": "moved"}}})
    left = [p for p in pods if p not in gone]
    for name in ("n0", "n1", "n2", "n3", "n4", "n5"):
        row = table.row(name)
        if row is None:
            continue
        there = [pod_info(p) for p in left if p["spec"]["nodeName"] == name]
        assert {p.uid for p in table.pods_on(row)} == {p.uid for p in there}
        assert table.requested["pods"][row] == len(there)
        assert table.requested["cpu"][row] == sum(p.requests.get("cpu", 0) for p in there)
        assert table.scored["memory"][row] == sum(p.scored["memory"] for p in there)
        for number in (80, 443):
            taken = any(port[2] == number for p in there for port in p.ports)
            assert table.port_taken(("0.0.0.0", "TCP", number))[row] == taken
        zone = (table.node(row)["metadata"].get("labels") or {}).get("zone")
        assert selection.equal(table, "zone", zone or "none")[row] == (zone is not None)


def test_a_pod_whose_node_is_not_known_yet_counts_when_it_comes() -> None:
    table = b.table([], [b.pod(requests={"cpu": "1"}, on="late")])
    table.put_node(b.node("late"))
    row = table.row("late")
    assert table.requested["cpu"][row] == 1000


def test_what_if_leaves_no_trace() -> None:
    there = b.pod(requests={"cpu": "1"}, ports=[80], on="a")
    table = b.table([b.node("a")], [there])
    row = table.row("a")
    assert row is not None
    with table.without(table.pods_on(row)):
        assert table.requested["cpu"][row] == 0
        assert not table.port_taken(("0.0.0.0", "TCP", 80)).any()
    with table.beside([pod_info(b.pod(requests={"cpu": "2"}, on="a"))]):
        assert table.requested["cpu"][row] == 3000
    assert table.requested["cpu"][row] == 1000
    assert table.port_taken(("10.0.0.1", "TCP", 80))[row]
