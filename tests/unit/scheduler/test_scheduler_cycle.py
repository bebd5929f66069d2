"""One pod's decision and, where there is none, why (https://kubernetes.io/docs/concepts/scheduling-eviction/)."""

from __future__ import annotations

import pytest

from pilothouse.api.types import Obj
from pilothouse.scheduler.cycle import Unschedulable, decide, post_filter
from pilothouse.scheduler.diagnosis import fit_error
from pilothouse.scheduler.framework import Cycle
from pilothouse.scheduler.pod_info import on_node, pod_info
from tests.unit.scheduler import builders as b


def _refusal(cycle: Cycle) -> str:
    with pytest.raises(Unschedulable) as caught:
        decide(cycle)
    post_filter(cycle, caught.value.diagnosis)
    return caught.value.diagnosis.text()


def test_the_emptiest_node_wins() -> None:
    table = b.table([b.node("full"), b.node("empty")], [b.pod(requests={"cpu": "3"}, on="full")])
    assert decide(b.cycle(b.pod(requests={"cpu": "1"}), table)) == "empty"


def test_equal_nodes_are_taken_by_chance_from_the_seed() -> None:
    table = b.table([b.node(f"n{i}") for i in range(20)])
    cycle = b.cycle(b.pod(), table)
    chosen = [decide(cycle) for _ in range(30)]
    assert len(set(chosen)) > 5
    again = b.cycle(b.pod(), table)
    assert chosen == [decide(again) for _ in range(30)]


def test_each_node_counts_for_the_first_filter_that_refuses_it_with_all_its_reasons() -> None:
    nodes = [
        b.node("cordoned", unschedulable=True),
        b.node("tainted", taints=[{"key": "k", "effect": "NoSchedule"}]),
        b.node("elsewhere", labels={"zone": "b"}),
        b.node("small", {"cpu": "1", "memory": "1Gi", "pods": "10"}, labels={"zone": "a"}),
    ]
    pod = b.pod(requests={"cpu": "2", "memory": "2Gi"}, nodeSelector={"zone": "a"})
    assert _refusal(b.cycle(pod, b.table(nodes))) == (
        "0/4 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 node(s) didn't match Pod's node "
        "affinity/selector, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. "
        "no new claims to deallocate"
    )


def test_without_nodes_there_is_nothing_to_count() -> None:
    assert _refusal(b.cycle(b.pod(), b.table([]))) == "no nodes available to schedule pods"


def test_a_pod_that_names_its_node_by_field_is_looked_at_there_alone() -> None:
    """What a DaemonSet's pod asks for (PreFilterResult)."""
    table = b.table([b.node("a"), b.node("b")])
    assert decide(b.cycle(_named("b"), table)) == "b"
    assert _refusal(b.cycle(_named("absent"), table)).startswith(
        "0/2 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    )


def _named(*names: str) -> Obj:
    fields = [{"key": "metadata.name", "operator": "In", "values": [n]} for n in names]
    required = {"nodeSelectorTerms": [{"matchFields": fields}]}
    return b.pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}})


def test_terms_that_exclude_each_other_refuse_every_node_at_once() -> None:
    assert _refusal(b.cycle(_named("a", "b"), b.table([b.node("a")]))) == (
        "0/1 nodes are available: pod affinity terms conflict. not found"
    )


def test_a_prefilters_refusal_stands_in_place_of_the_counts() -> None:
    assert fit_error(3, {"x": 3}, "no claim") == "0/3 nodes are available: no claim."
    assert fit_error(3, {"b": 1, "a": 12}, post_filter="never") == "0/3 nodes are available: 1 b, 12 a. never"


def test_room_that_was_made_for_a_pod_is_not_given_to_a_lesser_one() -> None:
    """RunFilterPluginsWithNominatedPods: a node must do with the nominated pods and without them."""
    table = b.table([b.node("a", {"cpu": "2", "memory": "8Gi", "pods": "10"})])
    guest = on_node(pod_info(b.pod(requests={"cpu": "2"}, priority=10)), "a")
    lesser, greater = b.pod(requests={"cpu": "1"}, priority=9), b.pod(requests={"cpu": "1"}, priority=11)
    assert "1 Insufficient cpu" in _refusal(b.cycle(lesser, table, guests=[guest]))
    assert decide(b.cycle(greater, table, guests=[guest])) == "a"
    assert decide(b.cycle(guest, table, guests=[guest])) == "a"


def test_a_pod_goes_to_its_nominated_node_if_that_still_does() -> None:
    table = b.table([b.node("a"), b.node("b")], [b.pod(requests={"cpu": "3"}, on="b")])
    assert decide(b.cycle(b.pod(requests={"cpu": "1"}, status={"nominatedNodeName": "b"}), table)) == "b"
    assert decide(b.cycle(b.pod(requests={"cpu": "2"}, status={"nominatedNodeName": "b"}), table)) == "a"


def test_a_resize_counts_until_the_kubelet_has_done_it() -> None:
    """KEP-1287: the larger of what is asked and what is held, and only what is held when it can never be."""
    running = b.pod(requests={"cpu": "1"}, on="a")
    running["status"] = {"containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}
    assert pod_info(running).requests == {"cpu": 3000}
    growing = b.pod(requests={"cpu": "3"}, on="a")
    growing["status"] = {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "1"}}]}
    assert pod_info(growing).requests == {"cpu": 3000}
    growing["status"]["conditions"] = [{"type": "PodResizePending", "reason": "Infeasible", "status": "True"}]
    assert pod_info(growing).requests == {"cpu": 1000}


def test_a_resize_of_a_whole_pod_counts_until_it_is_done() -> None:
    """KEP-5419, on by default in 1.36: as for containers, for what the pod asks for as a whole."""
    running = b.pod(requests={"cpu": "1"}, on="a", resources={"requests": {"cpu": "2"}})
    assert pod_info(running).requests == {"cpu": 2000}
    running["status"] = {"resources": {"requests": {"cpu": "4"}}, "allocatedResources": {"cpu": "3"}}
    assert pod_info(running).requests == {"cpu": 4000}
    running["spec"]["resources"]["requests"]["cpu"] = "9"
    assert pod_info(running).requests == {"cpu": 9000}
    running["status"]["conditions"] = [{"type": "PodResizePending", "reason": "Infeasible", "status": "True"}]
    assert pod_info(running).requests == {"cpu": 4000}
    waiting = b.pod(resources={"requests": {"cpu": "2"}})
    waiting["status"] = {"resources": {"requests": {"cpu": "4"}}}
    assert pod_info(waiting).requests == {"cpu": 2000}


def test_requests_of_a_pod_are_its_containers_or_its_hungriest_init_step() -> None:
    """https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers"""
    pod = b.pod(requests={"cpu": "1"}, overhead={"cpu": "100m"})
    pod["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
        {"name": "step", "resources": {"requests": {"cpu": "2", "memory": "1Gi"}}},
    ]
    assert pod_info(pod).requests == {"cpu": 2600, "memory": 1024**3}
    pod["spec"]["resources"] = {"requests": {"cpu": "4"}}
    assert pod_info(pod).requests["cpu"] == 4100
