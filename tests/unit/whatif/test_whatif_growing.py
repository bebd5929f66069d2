"""Which nodes would have to be added: enough, and not one too many."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.types import Obj
from pilothouse.whatif import Simulation, Snapshot, Template, simulate
from pilothouse.whatif.kinds import BadObject
from tests.unit.whatif.clusters import node, pod, workload


def templates(*nodes: Obj) -> list[Template]:
    return [Template.of(each) for each in nodes]


def priced(name: str, cpu: str, cost: str, most: str = "100") -> Obj:
    return node(name, cpu, annotations={"pilothouse.dev/cost": cost, "pilothouse.dev/max-nodes": most})


def counts(found: Simulation) -> dict[str, int]:
    return {each.template: each.count for each in found.added}


def test_nothing_is_added_where_everything_fits() -> None:
    found = simulate(Snapshot([node("a")]), [pod("web")], templates=templates(node("more")))
    assert found.added == ()


def test_as_many_as_are_needed() -> None:
    heavy = workload("Deployment", "heavy", "3", replicas=5)
    found = simulate(Snapshot([node("a")]), [heavy], templates=templates(node("more")))
    assert counts(found) == {"more": 4}
    assert found.added[0].nodes == ("more-1", "more-2", "more-3", "more-4")
    assert sorted(each.node for each in found.placements) == ["a", "more-1", "more-2", "more-3", "more-4"]
    assert [each.added for each in found.placements].count(True) == 4


def test_pods_that_no_such_node_would_take_are_a_lost_cause() -> None:
    found = simulate(Snapshot(), [pod("huge", "64"), pod("web")], templates=templates(node("more")))
    assert counts(found) == {"more": 1}
    assert [(each.name, each.state) for each in found.placements] == [
        ("huge", "unschedulable"),
        ("web", "bound"),
    ]
    assert "0/1 nodes are available: 1 Insufficient cpu." in found.placements[0].message


def test_the_cheapest_of_several_kinds() -> None:
    small, large = priced("small", "2", "1"), priced("large", "16", "9")
    eight = workload("Deployment", "web", "2", replicas=8)
    assert counts(simulate(Snapshot(), [eight], templates=templates(small, large))) == {"small": 8}
    cheap = priced("large", "16", "7")
    assert counts(simulate(Snapshot(), [eight], templates=templates(small, cheap))) == {"large": 1}


def test_what_a_later_kind_makes_needless_is_taken_away() -> None:
    """Small nodes are the cheaper ones for the small pods, until one pod needs the large one anyway."""
    small, large = priced("small", "2", "1"), priced("large", "16", "9")
    found = simulate(
        Snapshot(),
        [workload("Deployment", "web", "2", replicas=3), pod("huge", "10")],
        templates=templates(small, large),
    )
    assert counts(found) == {"large": 1}
    assert found.cost == 9


def test_no_more_than_there_are() -> None:
    scarce, rest = priced("scarce", "2", "1", "2"), priced("rest", "2", "5")
    found = simulate(
        Snapshot(), [workload("Deployment", "web", "2", replicas=5)], templates=templates(scarce, rest)
    )
    assert counts(found) == {"scarce": 2, "rest": 3}
    assert found.cost == 17
    assert not found.unplaced
    few = simulate(Snapshot(), [workload("Deployment", "web", "2", replicas=5)], templates=templates(scarce))
    assert counts(few) == {"scarce": 2}
    assert len(few.unplaced) == 3


def test_rules_between_pods_count() -> None:
    """One pod for each node, whatever room there is."""
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
    apart = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    found = simulate(
        Snapshot([node("a")]),
        [workload("Deployment", "web", "1m", replicas=4, pods=apart)],
        templates=templates(node("more")),
    )
    assert counts(found) == {"more": 3}


def test_pods_that_go_only_together() -> None:
    """None of them fits a node that is its own alone."""
    term = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}
    beside_db = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    new = [
        pod("db", "2", labels={"app": "db"}),
        workload("Deployment", "web", "1", replicas=2, pods=beside_db),
    ]
    found = simulate(Snapshot(), new, templates=templates(node("more")))
    assert counts(found) == {"more": 1}
    assert not found.unplaced


def test_daemons_take_their_share_of_new_nodes() -> None:
    agent = {**workload("DaemonSet", "agent", "1"), "metadata": {"name": "agent", "namespace": "kube-system"}}
    heavy = workload("Deployment", "heavy", "2", replicas=2)
    assert counts(simulate(Snapshot(), [heavy], templates=templates(node("more")))) == {"more": 1}
    assert counts(simulate(Snapshot([agent]), [heavy], templates=templates(node("more")))) == {"more": 2}


def test_gated_pods_ask_for_no_node() -> None:
    gated = pod("gated", schedulingGates=[{"name": "wait"}])
    assert simulate(Snapshot(), [gated], templates=templates(node("more"))).added == ()


def test_a_node_that_was_cordoned_or_young_is_a_template_all_the_same() -> None:
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    model = node("model", unschedulable=True, taints=[taint])
    assert counts(simulate(Snapshot(), [pod("web")], templates=templates(model))) == {"model": 1}


def test_names_that_are_taken_are_not_given_again() -> None:
    found = simulate(Snapshot([node("more-1", "1m")]), [pod("web")], templates=templates(node("more")))
    assert found.added[0].nodes == ("more-2",)


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (pod("web"), "Pod is no template of nodes"),
        ({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}, "status.allocatable"),
        (priced("n", "1", "much"), "is no number"),
    ],
)
def test_what_is_no_template(obj: Obj, text: str) -> None:
    with pytest.raises(BadObject, match=text):
        Template.of(obj)


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(("500m", "1", "2", "3")), min_size=1, max_size=8),
    st.integers(0, 2),
    st.sampled_from(("2", "4")),
)
def test_all_fit_and_one_fewer_would_not_do(asked: list[str], there: int, size: str) -> None:
    snapshot = Snapshot([node(f"n{i}", "2") for i in range(there)])
    new = [pod(f"p{i}", cpu) for i, cpu in enumerate(asked)]
    found = simulate(snapshot, new, templates=templates(node("more", size)))
    hopeless = [each for each in found.unplaced]
    assert all(cpu == "3" and size == "2" for each in hopeless for cpu in [asked[int(each.name[1:])]])
    if found.added:
        fewer = [node(name, size) for name in found.added[0].nodes[1:]]
        placed = [
            pod(p.name, asked[int(p.name[1:])], on=p.node) for p in found.placements if p.node and not p.added
        ]
        rest = [new[int(p.name[1:])] for p in found.placements if not p.node or p.added]
        left = simulate(
            Snapshot([*(node(f"n{i}", "2") for i in range(there)), *fewer, *placed]), rest
        ).unplaced
        assert len(left) > len(hopeless)
