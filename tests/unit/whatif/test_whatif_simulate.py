"""Where pods would go, said by the scheduler itself on a cluster that is only objects."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.types import Obj
from pilothouse.kit.world import simulated_world
from pilothouse.scheduler.config import load
from pilothouse.scheduler.config.profiles import ProfileError
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.pod_info import pod_info
from pilothouse.whatif import Placement, Simulation, Snapshot, device_claims, explain, simulate
from pilothouse.whatif.kinds import BadObject
from tests.unit.whatif.clusters import node, pod, priority_class, workload

NO_ROOM = (
    "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: "
    "1 No preemption victims found for incoming pod."
)


def nodes_of(found: Simulation) -> Counter[str]:
    return Counter(each.node for each in found.placements)


def one(found: Simulation, name: str) -> Placement:
    return next(each for each in found.placements if each.name == name)


def test_pods_go_where_the_scheduler_puts_them_and_others_say_why_not() -> None:
    found = simulate(Snapshot([node("a", "2"), pod("there", "1", on="a")]), [pod("first"), pod("second")])
    assert [(each.name, each.state, each.node, each.message) for each in found.placements] == [
        ("first", "bound", "a", ""),
        ("second", "unschedulable", "", NO_ROOM),
    ]
    assert [each.name for each in found.unplaced] == ["second"]


def test_the_snapshot_stays_as_it_is() -> None:
    snapshot = Snapshot([node("a"), pod("waits")])
    before = snapshot.revision()
    first, second = (simulate(snapshot, [workload("Deployment", "web", replicas=3)]) for _ in range(2))
    assert snapshot.revision() == before
    assert first == second
    assert "waits" in [each.name for each in first.placements]


def test_another_seed_may_choose_otherwise() -> None:
    snapshot = Snapshot([node(name) for name in "abcdefgh"])
    chosen = {simulate(snapshot, [pod("web")], seed=seed).placements[0].node for seed in range(12)}
    assert len(chosen) > 1


@pytest.mark.parametrize(
    ("obj", "count"),
    [
        (workload("Deployment", "w", replicas=3), 3),
        (workload("Deployment", "w"), 1),
        (workload("ReplicaSet", "w", replicas=2), 2),
        (workload("StatefulSet", "w", replicas=2, serviceName="w"), 2),
        (workload("DaemonSet", "w"), 2),
        (workload("Job", "w", version="batch/v1", parallelism=3, completions=2), 2),
        (workload("Job", "w", version="batch/v1", parallelism=3, completions=5, completionMode="Indexed"), 3),
        (workload("Job", "w", version="batch/v1", suspend=True), 0),
    ],
)
def test_workloads_become_their_pods(obj: Obj, count: int) -> None:
    found = simulate(
        Snapshot([node("a"), node("b"), node("cordoned", taints=[{"key": "k", "effect": "NoSchedule"}])]),
        [obj],
    )
    assert len(found.placements) == count
    assert {each.owner for each in found.placements} <= {f"{obj['kind']}/w"}
    assert all(each.state == "bound" for each in found.placements)
    assert len({each.name for each in found.placements}) == count


def test_a_cron_job_is_one_of_its_jobs() -> None:
    job = workload("Job", "w", version="batch/v1")["spec"]
    cron: Obj = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}},
    }
    found = simulate(Snapshot([node("a")]), [cron])
    assert [(each.owner, each.node) for each in found.placements] == [("CronJob/nightly", "a")]


def test_pods_of_a_deployment_are_spread_as_in_a_cluster() -> None:
    """By the default constraints, which ask for the pod's ReplicaSet: it must be there, too."""
    found = simulate(
        Snapshot([node("a", "16"), node("b", "16")]), [workload("Deployment", "web", "1m", replicas=8)]
    )
    assert nodes_of(found) == {"a": 4, "b": 4}


def test_what_a_pod_asks_for_may_come_with_it() -> None:
    important = pod("vip", "4", priorityClassName="gold")
    snapshot = Snapshot([node("a"), pod("low", "4", on="a")])
    found = simulate(snapshot, [important, priority_class("gold", 1000)])
    assert one(found, "vip").node == "a"
    assert [(each.name, each.node) for each in found.preempted] == [("low", "a")]


def test_a_pod_that_the_server_would_refuse_is_not_scheduled() -> None:
    found = simulate(
        Snapshot([node("a"), pod("web", on="a")]), [pod("vip", priorityClassName="gold"), pod("web")]
    )
    assert [(each.state, each.message) for each in found.placements] == [
        ("refused", 'pods "vip" is forbidden: no PriorityClass with name gold was found'),
        ("refused", 'pods "web" already exists'),
    ]


def test_limit_ranges_count() -> None:
    limits: Obj = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "limits", "namespace": "default"},
        "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "3"}}]},
    }
    bare = pod("bare")
    del bare["spec"]["containers"][0]["resources"]
    found = simulate(Snapshot([node("a", "2"), limits]), [bare])
    assert one(found, "bare").state == "unschedulable"


def test_gates_and_other_schedulers() -> None:
    gated = pod("gated", schedulingGates=[{"name": "wait"}])
    found = simulate(Snapshot([node("a")]), [gated, pod("foreign", schedulerName="other")])
    assert one(found, "gated").state == "gated"
    assert one(found, "gated").message == "Scheduling is blocked due to non-empty scheduling gates"
    assert (one(found, "foreign").state, one(found, "foreign").message) == (
        "ignored",
        "no profile has the scheduler name other",
    )


def test_a_configuration_decides() -> None:
    packed = load.parse(
        b"""
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
extenders: [{urlPrefix: 'http://127.0.0.1:1/nobody', filterVerb: filter}]
profiles:
- schedulerName: default-scheduler
  pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}]
  plugins: {score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit}]}}
"""
    )
    snapshot = Snapshot([node("a"), node("b")])
    assert sorted(nodes_of(simulate(snapshot, [pod(f"p{n}") for n in range(4)], config=packed)).values()) == [
        4
    ]
    explained = explain(Snapshot([node("a"), pod("web")]), "default", "web", config=packed)
    assert explained.extenders == ("http://127.0.0.1:1/nobody",)


def test_a_configuration_that_is_not_valid() -> None:
    broken = load.parse(
        b"apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nparallelism: -1\n"
    )
    with pytest.raises(ProfileError):
        simulate(Snapshot(), [], config=broken)


def test_claims_are_bound_by_a_stand_in() -> None:
    """A StatefulSet's claims of a class that provisions at once."""
    storage: Obj = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "fast"},
        "provisioner": "example.com/disks",
    }
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    st = workload("StatefulSet", "db", replicas=2, serviceName="db", volumeClaimTemplates=[claim])
    found = simulate(Snapshot([node("a"), storage]), [st])
    assert [(each.name, each.state) for each in found.placements] == [("db-0", "bound"), ("db-1", "bound")]


def test_claims_for_devices_are_made_of_their_templates() -> None:
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
    template: Obj = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "one-gpu", "namespace": "default"},
        "spec": {"spec": {"devices": {"requests": [request]}}},
    }
    snapshot = Snapshot([template])
    wanted = pod("train", resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}])
    whole = {**wanted, "metadata": {"name": "train", "namespace": "default", "uid": "u"}}
    made = device_claims.make(whole, snapshot, simulated_world(1))
    (claim,) = snapshot.list(device_claims.CLAIMS)
    assert made["status"]["resourceClaimStatuses"] == [
        {"name": "gpu", "resourceClaimName": claim["metadata"]["name"]}
    ]
    assert claim["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] == "gpu"
    assert claim["metadata"]["ownerReferences"][0]["uid"] == "u"


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({"apiVersion": "example.com/v1", "kind": "Robot", "metadata": {"name": "r"}}, "is no built-in kind"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {}}, "metadata.name is missing"),
        (pod("web", "1", containers="none"), "Pod web: "),
    ],
)
def test_what_is_no_pod_is_an_error(obj: Obj, text: str) -> None:
    with pytest.raises(BadObject, match=text):
        simulate(Snapshot([node("a")]), [obj])


def test_custom_resources_of_a_snapshot_are_left_out_and_counted() -> None:
    robot = {"apiVersion": "example.com/v1", "kind": "Robot", "metadata": {"name": "r"}}
    assert simulate(Snapshot([node("a"), robot, robot]), []).foreign == {"Robot": 2}


async def test_from_a_coroutine_in_a_thread() -> None:
    found = await asyncio.to_thread(simulate, Snapshot([node("a")]), [pod("web")])
    assert one(found, "web").node == "a"


amounts = st.sampled_from(("1m", "500m", "1", "3"))


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(("1", "2", "4")), min_size=1, max_size=4),
    st.lists(st.tuples(amounts, st.sampled_from((0, 0, 10))), max_size=8),
    st.integers(0, 3),
)
def test_no_node_is_overcommitted_and_nothing_that_fits_stays_behind(
    sizes: list[str], asked: list[tuple[str, int]], seed: int
) -> None:
    def milli(cpu: str) -> int:
        return int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000

    new: list[Any] = [priority_class("high", 10)]
    requests = {}
    for number, (cpu, priority) in enumerate(asked):
        new.append(pod(f"p{number}", cpu, **({"priorityClassName": "high"} if priority else {})))
        requests[f"p{number}"] = milli(cpu)
    found = simulate(Snapshot([node(f"n{i}", cpu) for i, cpu in enumerate(sizes)]), new, seed=seed)
    free = {f"n{i}": milli(cpu) for i, cpu in enumerate(sizes)}
    for each in found.placements:
        if each.state == "bound":
            free[each.node] -= requests[each.name]
    assert all(value >= 0 for value in free.values())
    for each in found.placements:
        if each.state == "unschedulable":
            assert requests[each.name] > max(free.values())


# -- explain ----------------------------------------------------------------------------------------------


def test_a_pod_of_a_snapshot_is_explained() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/9 nodes are available: 9 Insufficient cpu.",
        "lastTransitionTime": "2026-03-01T12:00:00Z",
    }
    waits = {**pod("waits", "8"), "status": {"conditions": [condition]}}
    found = explain(Snapshot([node("a"), node("b", "16"), waits]), "default", "waits")
    assert found.best == ("b",)
    assert found.queue.place == "unschedulable"
    assert found.queue.since == "2026-03-01T12:00:00Z"
    assert found.queue.message == condition["message"]
    assert [each.node for each in found.nodes] == ["b", "a"]


def test_pods_whose_node_comes_later_or_never_are_forgotten_when_they_go() -> None:
    """Informers may bring all pods before any node."""
    made = NodeTable()
    for name, on in (("early", "a"), ("gone", "a"), ("lost", "nowhere")):
        made.put_pod(
            pod_info({**pod(name, on=on), "metadata": {"name": name, "namespace": "default", "uid": name}})
        )
    assert made.remove_pod("gone") is not None
    assert made.remove_pod("lost") is not None
    assert made.remove_pod("lost") is None
    made.put_node(node("a"))
    row = made.row("a")
    assert row is not None
    assert [info.name for info in made.pods_on(row)] == ["early"]
    made.remove_node("a")
    made.put_node(node("a"))
    assert made.pod("early") is not None
