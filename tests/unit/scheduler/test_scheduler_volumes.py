"""Volumes in scheduling: the rules on columns against their plain ones, and upstream's reasons in its words."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api import resources, volumes
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.scheduler import cycle as cycles
from pilothouse.scheduler import room, volume_binding
from pilothouse.scheduler.framework import FilterPlugin
from pilothouse.scheduler.hints import (
    ASSIGNED_POD,
    CLAIM,
    CSI_NODE,
    STORAGE_CLASS,
    VOLUME,
    VOLUME_ATTACHMENT,
    Action,
    Event,
)
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.plugins import (
    node_volume_limits,
    registry,
    volume_capacity,
    volume_restrictions,
    volume_zone,
)
from pilothouse.scheduler.plugins.resource_scoring import by_ratio
from pilothouse.scheduler.plugins.volume_binding import VolumeBinding
from pilothouse.scheduler.plugins.volume_capacity import VolumeBindingByCapacity
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


@settings(max_examples=300, deadline=None)
@given(
    disks=v.disks(),
    claims=v.wishes(),
    nodes=v.labelled_nodes(),
    taken=st.sets(st.sampled_from(("v0", "v1"))),
    again=st.lists(st.integers(0, 4)),
)
def test_a_free_volume_is_found_as_if_all_were_looked_at(
    disks: list[Obj], claims: list[Obj], nodes: list[Obj], taken: set[str], again: list[int]
) -> None:
    storage = v.storage(claims, disks)
    for number in again:
        if number < len(disks):  # what changes is found where it belongs
            storage.volumes.remove(disks[number]["metadata"]["name"])
            storage.volumes.put(disks[number])
    for claim in claims:
        of_class = [disk for disk in disks if volumes.class_of(disk) == volumes.class_of(claim)]
        of_class.sort(key=volumes.order)
        for node in nodes:
            kept = storage.reserved_for(claim)
            found = storage.free.finder(claim).smallest(node, taken) if kept is None else kept
            expected = volumes.match(claim, of_class, node, taken if kept is None else ())
            assert (found if found is None or volumes.reaches(found, node) else None) == expected


def test_the_largest_free_volumes_of_nodes_that_come_later_are_known() -> None:
    local = [v.volume(f"on-{n}", size="2Gi", storage_class=v.STATIC, within={"zone": n}) for n in "ab"]
    storage = v.storage([v.claim("c", storage_class=v.STATIC, size="2Gi")], local)
    table = b.table([b.node("n0", labels={"zone": "a"}), b.node("n1")])
    pod, plugin = v.mounting("c"), VolumeBinding(storage)
    missing = {volume_binding.NOTHING_TO_BIND}
    assert refused(plugin, pod, table) == {"n1": missing}
    table.put_node(b.node("n2", labels={"zone": "b"}))
    assert refused(plugin, pod, table) == {"n1": missing}
    storage.volumes.remove("on-a")
    assert refused(plugin, pod, table) == {"n0": missing, "n1": missing}


@settings(max_examples=200, deadline=None)
@given(
    pools=v.pools(), nodes=v.labelled_nodes(), size=st.sampled_from(("1Gi", "2Gi", "3Gi")), gone=st.booleans()
)
def test_room_for_a_new_volume_is_found_as_if_all_pools_were_looked_at(
    pools: list[Obj], nodes: list[Obj], size: str, gone: bool
) -> None:
    storage, wanted = v.storage(pools=pools), volumes.asked(v.claim("c", size=size))
    if gone and pools:
        storage.pools.remove(key_of(pools.pop()))
    for node in nodes:
        able = [
            p for p in pools if (volumes.volume_limit(p) or 0) >= wanted and volumes.reached_from(p, node)
        ]
        found = storage.pools.with_room(v.WAITING, wanted, node)
        assert (found is not None) == bool(able)
        assert found is None or found in able


# -- scores by capacity ---------------------------------------------------------------------------------------

EMPTIER = [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}]
FULLER = [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]


def capacity_scores(pod: Obj, table: NodeTable, storage: Storage, shape: list[Obj]) -> dict[str, int]:
    """By node, of those that will do."""
    plugin, cycle = VolumeBindingByCapacity(storage, shape), b.cycle(pod, table)
    assert plugin.pre_filter(cycle) is None
    left = table.valid.copy()
    for rejection in plugin.filter(cycle, left):
        left &= ~rejection.mask
    rows = np.flatnonzero(left)
    if not plugin.pre_score(cycle, rows):
        return {}
    found = plugin.score(cycle, rows)
    return {table.name(int(row)): int(value) for row, value in zip(rows, found, strict=True)}


@settings(max_examples=300, deadline=None)
@given(store=v.stores(), nodes=v.labelled_nodes(), shape=st.sampled_from((EMPTIER, FULLER)))
def test_capacity_scores_on_columns_agree_with_one_node_at_a_time(
    store: tuple[Storage, list[str]], nodes: list[Obj], shape: list[Obj]
) -> None:
    storage, names = store
    pod = v.mounting(*names)
    claims = volume_binding.sorted_out(pod_info(pod), storage)
    assert not isinstance(claims, str)
    by_name = {node["metadata"]["name"]: node for node in nodes}
    for name, found in capacity_scores(pod, b.table(nodes), storage, shape).items():
        plan = volume_binding.on_node(claims, by_name[name], storage)
        assert found == volume_capacity.score(plan, by_ratio(shape))


def test_a_volume_that_just_fits_scores_as_the_shape_says() -> None:
    """KEP-4049; scorer_test.go: the share of what is there that is asked for, classes weighing the same."""
    local = [
        v.volume(f"v-{zone}-{name}", size=size, storage_class=name, within={"zone": zone})
        for zone, size in (("a", "10Gi"), ("b", "20Gi"))
        for name in (v.STATIC, v.WAITING)
    ]
    storage = v.storage([v.claim("c", storage_class=v.STATIC, size="10Gi"), v.claim("d", size="5Gi")], local)
    table = b.table([b.node(f"n{zone}", labels={"zone": zone}) for zone in "ab"])
    assert capacity_scores(v.mounting("c"), table, storage, FULLER) == {"na": 100, "nb": 50}
    assert capacity_scores(v.mounting("c"), table, storage, EMPTIER) == {"na": 0, "nb": 50}
    assert capacity_scores(v.mounting("c", "d"), table, storage, FULLER) == {"na": 75, "nb": 38}


def test_a_new_volume_scores_by_the_room_that_its_driver_reports() -> None:
    pools = [
        v.pool(f"p{zone}", size, {"matchLabels": {"zone": zone}})
        for zone, size in (("a", "10Gi"), ("b", "40Gi"))
    ]
    storage = v.storage([v.claim("c", size="10Gi")], drivers=[v.driver(v.CSI, capacity=True)], pools=pools)
    table = b.table([b.node(f"n{zone}", labels={"zone": zone}) for zone in "abc"])
    assert capacity_scores(v.mounting("c"), table, storage, EMPTIER) == {"na": 0, "nb": 75}


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
    attached=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=4, unique=True),
)
def test_limits_on_columns_agree_with_one_node_at_a_time(
    there: list[list[int]],
    new: list[int],
    limits: list[int],
    migrated: list[bool],
    gone: int,
    attached: list[tuple[int, int]],
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
    for disk, node in attached:
        attachment = v.attachment(f"v{disk}", f"n{node}", "ebs.csi.aws.com")
        storage.put(resources.VOLUME_ATTACHMENTS, attachment)
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


def test_what_is_still_attached_takes_up_room() -> None:
    """csi_test.go: "should count VolumeAttachments towards volume limit when no pods exist"; upstream counts a volume
    that is attached without a pod beside the one that a new pod brings, even if it is the same."""
    claims = [v.claim(f"c{i}", bound=True, volume=f"v{i}") for i in range(4)]
    disks = [v.volume(f"v{i}") for i in range(3)]
    storage = v.storage(claims, disks, csi_nodes=[v.csi_node(n, {v.CSI: 2}) for n in "abc"])
    table = b.table([b.node("a")], [v.mounting("c0", on="a")])
    full = "0/1 nodes are available: 1 node(s) exceed max volume count."
    put = partial(storage.put, resources.VOLUME_ATTACHMENTS)
    put(v.attachment("v0", "a"))  # its pod is there
    put(v.attachment("v2", "b"))
    assert outcome(v.mounting("c1"), table, storage) == "a"
    put(v.attachment("v3", "a"))  # nobody knows this volume yet
    assert outcome(v.mounting("c1"), table, storage) == "a"
    limits = node_volume_limits.NodeVolumeLimits(storage)
    assert not refused(limits, v.mounting("c1"), table)
    storage.put(resources.PERSISTENT_VOLUMES, v.volume("v3"))
    assert outcome(v.mounting("c1"), table, storage) == full
    assert outcome(v.mounting("c3"), table, storage) == full
    assert outcome(v.mounting("c0"), table, storage) == "a"
    assert refused(limits, v.mounting("c1"), table)
    storage.attachments.remove("v3-on-a")
    assert not refused(limits, v.mounting("c1"), table)

    put(v.attachment("v3", "b"))
    table.remove_node("a")
    table.put_node(b.node("b"))  # in the row of the other
    assert set(refused(limits, v.mounting("c1"), table)) == {"b"}


def test_a_driver_may_keep_its_volumes_to_nodes_that_have_it() -> None:
    """VolumeLimitScaling (KEP-5030), alpha in 1.36."""
    storage = v.storage(
        [v.claim("c")],
        csi_nodes=[v.csi_node("a", {"other.example.com": 1}), v.csi_node("b", {v.CSI: 1})],
        drivers=[v.driver(v.CSI, needed=True)],
    )
    table, pod = b.table([b.node(name) for name in "abc"]), v.mounting("c")
    off = node_volume_limits.NodeVolumeLimits(storage)
    plugin = node_volume_limits.NodeVolumeLimits(storage, needs_drivers=True)
    missing = {f"{v.CSI} CSI driver is not installed on the node"}
    assert refused(plugin, pod, table) == {"a": missing, "c": missing}
    assert refused(off, pod, table) == {}
    new = v.csi_node("a", {v.CSI: 0})
    assert wakes(plugin, pod, Event(CSI_NODE, Action.UPDATE, v.csi_node("a"), new))
    assert not wakes(off, pod, Event(CSI_NODE, Action.UPDATE, v.csi_node("a"), new))
    storage.put(resources.CSI_NODES, new)
    assert refused(plugin, pod, table) == {"a": {node_volume_limits.REASON}, "c": missing}
    storage.put(resources.CSI_DRIVERS, v.driver(v.CSI))
    assert set(refused(plugin, pod, table)) == {"a"}


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
    assert wakes(limits, pod, Event(VOLUME_ATTACHMENT, Action.DELETE, v.attachment("v", "a")))
    assert not wakes(limits, pod, Event(VOLUME_ATTACHMENT, Action.DELETE, v.attachment("v", "a", "other")))

    zones = volume_zone.VolumeZone(storage)
    assert not wakes(zones, pod, Event(VOLUME, Action.UPDATE, v.volume("v"), v.volume("v")))
    assert wakes(zones, pod, Event(VOLUME, Action.UPDATE, v.volume("v"), v.volume("v", labels={ZONE: "a"})))
