"""Volumes in scheduling: the rules on columns against their plain ones, and upstream's reasons in its words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api import resources, volumes
from pilothouse.api.types import Obj
from pilothouse.scheduler import cycle as cycles
from pilothouse.scheduler import room, volume_binding
from pilothouse.scheduler.framework import FilterPlugin
from pilothouse.scheduler.hints import ASSIGNED_POD, CLAIM, CSI_NODE, STORAGE_CLASS, VOLUME, Action, Event
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.plugins import node_volume_limits, registry, volume_restrictions, volume_zone
from pilothouse.scheduler.plugins.volume_binding import VolumeBinding
from pilothouse.scheduler.pod_info import pod_info
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.storage import Storage
from tests.unit.scheduler import builders as b
from tests.unit.scheduler import volume_builders as v

ZONE = "topology.kubernetes.io/zone"
OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"


def profile(storage: Storage) -> Profile:
    return Profile(registry.rules(b.namespaces, b.default_group, storage), registry.WEIGHTS)


def outcome(pod: Obj, table: NodeTable, storage: Storage) -> str:
    """The nodes that fit, or what the pod is told."""
    cycle = b.cycle(pod, table, using=profile(storage))
    try:
        rows = np.flatnonzero(cycles.feasible(cycle))
    except cycles.Unschedulable as refusal:
        return refusal.diagnosis.text()
    return " ".join(sorted(table.name(int(row)) for row in rows))


def refused(plugin: Any, pod: Obj, table: NodeTable) -> dict[str, set[str]]:
    """By node, the reasons that one plugin gives; {"*": …} when it needs no node to refuse."""
    cycle = b.cycle(pod, table)
    if hasattr(plugin, "pre_filter"):
        result = plugin.pre_filter(cycle)
        if result is not None and result.refusal:
            return {"*": {result.refusal}}
    found: dict[str, set[str]] = {}
    for rejection in plugin.filter(cycle, table.valid.copy()):
        for row in np.flatnonzero(rejection.mask & table.valid):
            found.setdefault(table.name(int(row)), set()).add(rejection.reason)
    return found


# -- columns against the plain rules --------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(store=v.stores(), nodes=v.labelled_nodes())
def test_binding_on_columns_agrees_with_one_node_at_a_time(
    store: tuple[Storage, list[str]], nodes: list[Obj]
) -> None:
    storage, names = store
    pod = v.mounting(*names)
    claims = volume_binding.sorted_out(pod_info(pod), storage)
    assert not isinstance(claims, str)
    expected = {}
    for node in nodes:
        plan = volume_binding.on_node(claims, node, storage)
        if plan.reasons:
            expected[node["metadata"]["name"]] = set(plan.reasons)
    assert refused(VolumeBinding(storage), pod, b.table(nodes)) == expected


@settings(max_examples=300, deadline=None)
@given(store=v.stores(), nodes=v.labelled_nodes())
def test_a_plan_uses_no_volume_twice_and_none_that_is_out_of_reach(
    store: tuple[Storage, list[str]], nodes: list[Obj]
) -> None:
    storage, names = store
    claims = volume_binding.sorted_out(pod_info(v.mounting(*names)), storage)
    assert not isinstance(claims, str)
    for node in nodes:
        plan = volume_binding.on_node(claims, node, storage)
        if plan.reasons:
            continue
        chosen = [volume["metadata"]["name"] for volume, _ in plan.bindings]
        assert len(chosen) == len(set(chosen))
        assert len(plan.bindings) + len(plan.provisions) == len(claims.waiting)
        for volume, claim in plan.bindings:
            assert volumes.reaches(volume, node)
            assert volumes.capacity(volume) >= volumes.asked(claim)


_MOUNTS = st.one_of(
    st.builds(
        lambda name, ro: {"gcePersistentDisk": {"pdName": name, "readOnly": ro}},
        st.sampled_from("ab"),
        st.booleans(),
    ),
    st.builds(lambda name: {"awsElasticBlockStore": {"volumeID": name}}, st.sampled_from("ab")),
    st.builds(
        lambda name, ro: {"iscsi": {"iqn": name, "readOnly": ro}}, st.sampled_from("ab"), st.booleans()
    ),
    st.builds(
        lambda monitors, image, ro: {"rbd": {"monitors": monitors, "image": image, "readOnly": ro}},
        st.lists(st.sampled_from("xyz"), min_size=1, max_size=2, unique=True),
        st.sampled_from("ab"),
        st.booleans(),
    ),
)


def with_volumes(sources: list[Obj], **fields: Any) -> Obj:
    return b.pod(volumes=[{"name": f"v{i}", **source} for i, source in enumerate(sources)], **fields)


@settings(max_examples=300, deadline=None)
@given(
    new=st.lists(_MOUNTS, min_size=1, max_size=2), there=st.lists(st.lists(_MOUNTS, max_size=2), max_size=4)
)
def test_disks_on_columns_conflict_as_two_pods_do(new: list[Obj], there: list[list[Obj]]) -> None:
    others = [with_volumes(sources, on=f"n{i % 3}") for i, sources in enumerate(there)]
    pod, table = with_volumes(new), b.table([b.node(f"n{i}") for i in range(3)], others)
    mine = pod_info(pod).volumes
    expected = {
        other["spec"]["nodeName"]
        for other in others
        if volume_restrictions.conflicts(mine, pod_info(other).volumes)
    }
    found = refused(volume_restrictions.VolumeRestrictions(v.storage()), pod, table)
    assert set(found) == expected


_ZONED = st.dictionaries(st.sampled_from((ZONE, OLD_ZONE)), st.sampled_from(("a", "a__b", "c", "a__")))


@settings(max_examples=300, deadline=None)
@given(labels=_ZONED, nodes=v.labelled_nodes())
def test_zones_on_columns_agree_with_one_node_at_a_time(labels: dict[str, str], nodes: list[Obj]) -> None:
    disk = v.volume("v", labels=labels)
    storage = v.storage([v.claim("c", bound=True, volume="v")], [disk])
    expected = {n["metadata"]["name"] for n in nodes if not volume_zone.fits(volume_zone.places(disk), n)}
    assert set(refused(volume_zone.VolumeZone(storage), v.mounting("c"), b.table(nodes))) == expected


EBS = "kubernetes.io/aws-ebs"


@settings(max_examples=300, deadline=None)
@given(
    there=st.lists(st.lists(st.integers(0, 5), max_size=3, unique=True), max_size=5),
    new=st.lists(st.integers(0, 7), min_size=1, max_size=3, unique=True),
    limits=st.lists(st.integers(0, 4), min_size=3, max_size=3),
    migrated=st.lists(st.booleans(), min_size=3, max_size=3),
    gone=st.integers(0, 5),
)
def test_limits_on_columns_agree_with_one_node_at_a_time(
    there: list[list[int]], new: list[int], limits: list[int], migrated: list[bool], gone: int
) -> None:
    """Even claims are of a driver, odd ones of an in-tree plugin, 6 and 7 unbound; pods and bindings come and go."""
    driver, tree = {"driver": "ebs.csi.aws.com", "volumeHandle": ""}, {"volumeID": ""}
    sources: tuple[Obj, ...] = ({"csi": driver}, {"awsElasticBlockStore": tree})
    disks = []
    for i in range(6):
        source = {k: dict(s) for k, s in sources[i % 2].items()}
        next(iter(source.values()))["volumeID" if i % 2 else "volumeHandle"] = f"h{i // 3}-{i % 2}"
        disks.append(v.volume(f"v{i}", source=source))
    classes = [v.storage_class("csi", "ebs.csi.aws.com"), v.storage_class("tree", EBS)]
    claims = [v.claim(f"c{i}", bound=True, volume=f"v{i}") for i in range(6)]
    claims += [v.claim("c6", storage_class="csi"), v.claim("c7", storage_class="tree")]
    csi_nodes = [
        v.csi_node(f"n{i}", {"ebs.csi.aws.com": limits[i]}, EBS if migrated[i] else "") for i in range(3)
    ]
    storage = v.storage(claims, disks, classes, csi_nodes)
    nodes = [b.node(f"n{i}") for i in range(3)]
    pods = [v.mounting(*(f"c{n}" for n in names), on=f"n{i % 3}") for i, names in enumerate(there)]
    table, plugin = b.table(nodes, pods), node_volume_limits.NodeVolumeLimits(storage)
    pod = v.mounting(*(f"c{n}" for n in new))

    def agrees(left: list[Obj]) -> None:
        infos = [pod_info(p) for p in left]
        expected = {
            n["metadata"]["name"]
            for n in nodes
            if not node_volume_limits.fits(
                pod_info(pod), n, [i for i in infos if i.node == n["metadata"]["name"]], storage
            )
        }
        assert set(refused(plugin, pod, table)) == expected

    agrees(pods)
    for each in pods[:1]:
        table.remove_pod(each["metadata"]["uid"])
    agrees(pods[1:])
    storage.put(
        resources.PERSISTENT_VOLUME_CLAIMS,
        v.claim(f"c{gone}", bound=True, volume="v0"),
    )
    agrees(pods[1:])


# -- in upstream's words --------------------------------------------------------------------------------------

NOBODY = "0/2 nodes are available: "


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        (None, 'persistentvolumeclaim "c" not found.'),
        (v.claim("c", going=True), 'persistentvolumeclaim "c" is being deleted.'),
        (
            v.claim("c", phase="Lost", volume="v"),
            'persistentvolumeclaim "c" bound to non-existent persistentvolume "v".',
        ),
        (
            v.claim("c", storage_class=v.IMMEDIATE),
            "pod has unbound immediate PersistentVolumeClaims.",
        ),
        (v.claim("c", storage_class="none"), "pod has unbound immediate PersistentVolumeClaims."),
        (v.claim("c", volume="v"), "pod has unbound immediate PersistentVolumeClaims."),
        (
            v.claim("c", bound=True, volume="v"),
            "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).",
        ),
        (
            v.claim("c", storage_class=v.STATIC),
            "2 node(s) didn't find available persistent volumes to bind.",
        ),
    ],
)
def test_what_a_pod_is_told_of_its_claim(claim: Obj | None, why: str) -> None:
    """pkg/scheduler/framework/plugins/volumebinding volume_binding_test.go TestVolumeBinding; volumezone refuses a
    volume that is not there before volumebinding's Filter is asked."""
    storage = v.storage([claim] if claim else [])
    if claim and claim["metadata"]["annotations"]:
        why = 'persistentvolume "v" not found.'
    assert outcome(v.mounting("c"), b.table([b.node("a"), b.node("b")]), storage) == NOBODY + why


def test_an_ephemeral_volumes_claim_is_waited_for_and_must_be_the_pods() -> None:
    """volume_binding_test.go: "generic ephemeral volume" cases."""
    pod = b.pod("p", volumes=[{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}])
    table = b.table([b.node("a")])
    waiting = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"'
    assert outcome(pod, table, v.storage()) == f"0/1 nodes are available: {waiting}."
    foreign = v.storage([v.claim("p-scratch")])
    told = "PVC default/p-scratch was not created for pod default/p (pod is not owner)"
    assert outcome(pod, table, foreign) == f"0/1 nodes are available: {told}."
    mine = v.storage([v.claim("p-scratch", owner=pod["metadata"]["uid"])])
    assert outcome(pod, table, mine) == "a"


def test_a_pod_goes_where_its_volume_is() -> None:
    nodes = [b.node("a", labels={"zone": "a"}), b.node("b", labels={"zone": "b"})]
    disk = v.volume("v", within={"zone": "b"}, phase="Bound", claim="c", uid="uid-c")
    storage = v.storage([v.claim("c", bound=True, volume="v")], [disk])
    assert outcome(v.mounting("c"), b.table(nodes), storage) == "b"
    only_a = b.table(nodes[:1])
    told = "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity."
    assert outcome(v.mounting("c"), only_a, storage) == told


def test_a_waiting_claim_takes_the_smallest_volume_that_the_node_reaches() -> None:
    disks = [
        v.volume("large", size="5Gi", within={"zone": "a"}, storage_class=v.STATIC),
        v.volume("small", size="2Gi", within={"zone": "a"}, storage_class=v.STATIC),
        v.volume("tiny", size="1Mi", within={"zone": "a"}, storage_class=v.STATIC),
        v.volume("elsewhere", size="1Gi", within={"zone": "b"}, storage_class=v.STATIC),
    ]
    storage = v.storage([v.claim("c", storage_class=v.STATIC)], disks)
    node = b.node("a", labels={"zone": "a"})
    claims = volume_binding.sorted_out(pod_info(v.mounting("c")), storage)
    assert not isinstance(claims, str)
    plan = volume_binding.on_node(claims, node, storage)
    assert [volume["metadata"]["name"] for volume, _ in plan.bindings] == ["small"]


def test_two_claims_of_a_pod_do_not_share_a_volume() -> None:
    nodes = [b.node(n, labels={"zone": n}) for n in "ab"]
    disks = [
        v.volume("a1", within={"zone": "a"}, storage_class=v.STATIC),
        v.volume("b1", within={"zone": "b"}, storage_class=v.STATIC),
        v.volume("b2", within={"zone": "b"}, storage_class=v.STATIC),
    ]
    claims = [v.claim(name, storage_class=v.STATIC) for name in ("c", "d")]
    assert outcome(v.mounting("c", "d"), b.table(nodes), v.storage(claims, disks)) == "b"


def test_a_driver_that_reports_capacity_is_believed() -> None:
    """KEP-1472, binder_test.go TestCapacity."""
    nodes = [b.node(n, labels={"zone": n}) for n in "ab"]
    claims, drivers = [v.claim("c", size="2Gi")], [v.driver(v.CSI, capacity=True)]
    pools = [
        v.pool("in-a", "1Gi", {"matchLabels": {"zone": "a"}}),
        v.pool("in-b", "3Gi", {"matchLabels": {"zone": "b"}}),
    ]
    storage = v.storage(claims, drivers=drivers, pools=pools)
    assert outcome(v.mounting("c"), b.table(nodes), storage) == "b"
    told = "0/1 nodes are available: 1 node(s) did not have enough free storage."
    assert outcome(v.mounting("c"), b.table(nodes[:1]), storage) == told
    silent = v.storage(claims, drivers=[v.driver(v.CSI, capacity=False)], pools=pools)
    assert outcome(v.mounting("c"), b.table(nodes), silent) == "a b"


def test_a_class_makes_volumes_in_its_topologies_only() -> None:
    nodes = [b.node(n, labels={"zone": n}) for n in "ab"]
    classes = [v.storage_class(v.WAITING, topologies=[v.topology("zone", "b", "c")])]
    assert outcome(v.mounting("c"), b.table(nodes), v.storage([v.claim("c")], classes=classes)) == "b"


def test_a_claim_for_one_pod_keeps_others_off_every_node() -> None:
    """volume_restrictions_test.go TestAccessModeConflicts."""
    storage = v.storage(
        [v.claim("c", modes=["ReadWriteOncePod"], bound=True, volume="v")],
        [v.volume("v", modes=["ReadWriteOncePod"], phase="Bound")],
    )
    table = b.table([b.node("a"), b.node("b")], [v.mounting("c", on="a")])
    told = "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode."
    assert outcome(v.mounting("c"), table, storage) == NOBODY + told


def test_a_disk_goes_to_a_node_once() -> None:
    """volume_restrictions_test.go TestGCEDiskConflicts."""
    disk = {"gcePersistentDisk": {"pdName": "pd"}}
    table = b.table([b.node("a")], [with_volumes([disk], on="a")])
    told = "0/1 nodes are available: 1 node(s) had no available disk."
    assert outcome(with_volumes([disk]), table, v.storage()) == told


def test_a_volume_with_a_zone_keeps_its_pod_there() -> None:
    """volume_zone_test.go TestSingleZone, TestMultiZone."""
    nodes = [b.node("a", labels={ZONE: "a"}), b.node("b", labels={ZONE: "b"}), b.node("anywhere")]
    disk = v.volume("v", labels={OLD_ZONE: "b__c"})
    storage = v.storage([v.claim("c", bound=True, volume="v")], [disk])
    assert outcome(v.mounting("c"), b.table(nodes), storage) == "anywhere b"
    told = "0/1 nodes are available: 1 node(s) had no available volume zone."
    assert outcome(v.mounting("c"), b.table(nodes[:1]), storage) == told


def test_a_node_attaches_no_more_volumes_than_it_can() -> None:
    """nodevolumelimits csi_test.go TestCSILimits: a volume that is there already takes no more room."""
    claims = [v.claim(f"c{i}", bound=True, volume=f"v{i}") for i in range(3)]
    storage = v.storage(
        claims, [v.volume(f"v{i}") for i in range(3)], csi_nodes=[v.csi_node("a", {v.CSI: 2})]
    )
    table = b.table([b.node("a")], [v.mounting("c0", "c1", on="a")])
    told = "0/1 nodes are available: 1 node(s) exceed max volume count."
    assert outcome(v.mounting("c2"), table, storage) == told
    assert outcome(v.mounting("c1"), table, storage) == "a"


def test_pods_count_for_a_volume_only_where_it_is_limited_or_for_one_pod() -> None:
    """Else preemption works out all nodes at once, in amounts alone."""
    table = b.table([b.node("a")])

    def is_arithmetic(claim: Obj, **more: Any) -> bool:
        storage = v.storage([claim], [v.volume("v")], **more)
        return room.rule(b.cycle(v.mounting("c"), table, using=profile(storage))) is not None

    plain = v.claim("c", bound=True, volume="v")
    assert is_arithmetic(plain)
    assert not is_arithmetic(plain, csi_nodes=[v.csi_node("a", {v.CSI: 2})])
    assert not is_arithmetic(v.claim("c", modes=["ReadWriteOncePod"], bound=True, volume="v"))


# -- what is assumed --------------------------------------------------------------------------------------------


def test_the_next_pod_does_not_get_the_volume_that_was_just_given_away() -> None:
    claims = [v.claim(name, storage_class=v.STATIC) for name in ("c", "d")]
    storage = v.storage(claims, [v.volume("v", storage_class=v.STATIC)])
    table, plugin = b.table([b.node("a")]), VolumeBinding(storage)
    first = b.cycle(v.mounting("c"), table)
    plugin.pre_filter(first)
    assert plugin.reserve(first, "a") == ""
    told = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind."
    assert outcome(v.mounting("d"), table, storage) == told
    plugin.unreserve(first, "a")
    assert outcome(v.mounting("d"), table, storage) == "a"


def test_an_assumption_ends_when_the_server_has_spoken() -> None:
    storage = v.storage([v.claim("c")])
    assumed = v.claim("c", node="a")
    storage.claims.assume(assumed)
    assert storage.claims.get("default/c") is assumed
    newer = v.claim("c")
    newer["metadata"]["resourceVersion"] = "2"
    storage.put(resources.PERSISTENT_VOLUME_CLAIMS, newer)
    assert storage.claims.get("default/c") is newer
    storage.claims.assume(assumed)
    assert storage.claims.get("default/c") is newer


# -- what wakes a pod --------------------------------------------------------------------------------------------


def wakes(plugin: FilterPlugin, pod: Obj, event: Event) -> bool:
    return any(r.wakes(pod_info(pod), event) for r in plugin.registrations())


def test_only_news_that_may_help_wakes_a_pod() -> None:
    storage, pod = v.storage([v.claim("c")]), v.mounting("c")
    binding = VolumeBinding(storage)
    mine, other = v.claim("c"), v.claim("other")
    assert wakes(binding, pod, Event(CLAIM, Action.UPDATE, mine, mine))
    assert not wakes(binding, pod, Event(CLAIM, Action.ADD, None, other))
    assert wakes(binding, pod, Event(VOLUME, Action.ADD, None, v.volume("v")))
    assert wakes(binding, pod, Event(STORAGE_CLASS, Action.ADD, None, v.CLASSES[0]))
    assert not wakes(binding, pod, Event(STORAGE_CLASS, Action.UPDATE, v.CLASSES[0], v.CLASSES[0]))

    limits = node_volume_limits.NodeVolumeLimits(storage)
    few, many = v.csi_node("a", {v.CSI: 1}), v.csi_node("a", {v.CSI: 2})
    assert wakes(limits, pod, Event(CSI_NODE, Action.UPDATE, few, many))
    assert not wakes(limits, pod, Event(CSI_NODE, Action.UPDATE, many, few))
    assert wakes(limits, pod, Event(ASSIGNED_POD, Action.DELETE, v.mounting("c", on="a")))
    assert not wakes(limits, pod, Event(ASSIGNED_POD, Action.DELETE, b.pod(on="a")))

    zones = volume_zone.VolumeZone(storage)
    assert not wakes(zones, pod, Event(VOLUME, Action.UPDATE, v.volume("v"), v.volume("v")))
    assert wakes(zones, pod, Event(VOLUME, Action.UPDATE, v.volume("v"), v.volume("v", labels={ZONE: "a"})))
