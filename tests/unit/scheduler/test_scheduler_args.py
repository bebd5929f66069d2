"""What plugins make of their arguments: on columns what the plain rules say of one node, on generated clusters, and
upstream's documented examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api import node_selector
from pilothouse.api.labels import EVERYTHING
from pilothouse.api.pod_requests import amounts
from pilothouse.api.types import Obj
from pilothouse.scheduler import preemption, sampling
from pilothouse.scheduler.cycle import decide
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.framework import FilterPlugin
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.plugins import image_locality, resource_scoring
from pilothouse.scheduler.plugins.balanced_allocation import BalancedAllocation, balance
from pilothouse.scheduler.plugins.image_locality import ImageLocality
from pilothouse.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from pilothouse.scheduler.plugins.node_affinity import ENFORCED, NodeAffinity
from pilothouse.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from pilothouse.scheduler.plugins.node_resources_fit import Ignored, NodeResourcesFit
from pilothouse.scheduler.plugins.pod_topology_spread import MISSING, SKEW, PodTopologySpread
from pilothouse.scheduler.plugins.resource_scoring import Strategy
from pilothouse.scheduler.pod_info import pod_info
from tests.unit.scheduler import builders as b

Cluster = tuple[list[Obj], list[Obj]]
MIB = 1024 * 1024


def refusals(plugin: FilterPlugin, pod: Obj, table: NodeTable) -> dict[str, str]:
    """The first reason by node."""
    found: dict[str, str] = {}
    for rejection in plugin.filter(b.cycle(pod, table), table.valid.copy()):
        for row in np.flatnonzero(rejection.mask & table.valid):
            found.setdefault(table.name(int(row)), rejection.reason)
    return found


def scored(plugin: Any, pod: Obj, table: NodeTable) -> dict[str, int] | None:
    """By node; None when the plugin is left out."""
    cycle = b.cycle(pod, table)
    rows = np.flatnonzero(table.valid)
    if hasattr(plugin, "pre_score") and not plugin.pre_score(cycle, rows):
        return None
    return {table.name(int(r)): int(s) for r, s in zip(rows, plugin.score(cycle, rows), strict=True)}


# -- NodeResourcesFit -----------------------------------------------------------------------------------------

shapes = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 10)), min_size=1, max_size=5, unique_by=lambda p: p[0]
).map(lambda points: [{"utilization": u, "score": s} for u, s in sorted(points)])
resources = st.dictionaries(
    st.sampled_from(("cpu", "memory", "example.com/gpu")), st.integers(1, 100), min_size=1
)
strategies = st.one_of(
    resources.map(resource_scoring.least_allocated),
    resources.map(resource_scoring.most_allocated),
    st.builds(resource_scoring.by_ratio, shapes, resources),
)


@settings(max_examples=200, deadline=None)
@given(cluster=b.clusters(), pod=b.new_pods(), strategy=strategies)
def test_strategies_on_columns_agree_with_the_plain_ones(
    cluster: Cluster, pod: Obj, strategy: Strategy
) -> None:
    table = b.table(*cluster)
    info = pod_info(pod)
    found = scored(NodeResourcesFit(strategy), pod, table) or {}
    for name, score in found.items():
        row = table.row(name)
        assert row is not None
        allocatable = amounts(table.node(row)["status"]["allocatable"])
        assert score == resource_scoring.plain_score(strategy, info, allocatable, table.pods_on(row))
        assert 0 <= score <= 100


def test_the_documented_bin_packing_example() -> None:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/#node-scoring-for-capacity-allocation:
    "Requested resources: intel.com/foo 2, memory 256MB, cpu 2; weights 5, 1, 3; shape 0→0, 100→10": node 1 scores 5,
    node 2 scores 7, of 10; the scheduler works with a scale of 100 and finds the same order."""
    strategy = resource_scoring.by_ratio(
        [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}],
        {"intel.com/foo": 5, "memory": 1, "cpu": 3},
    )
    nodes = [
        b.node("one", {"intel.com/foo": "4", "memory": "1Gi", "cpu": "8", "pods": "9"}),
        b.node("two", {"intel.com/foo": "8", "memory": "1Gi", "cpu": "8", "pods": "9"}),
    ]
    there = [
        b.pod(requests={"intel.com/foo": "1", "memory": "256Mi", "cpu": "1"}, on="one"),
        b.pod(requests={"intel.com/foo": "2", "memory": "512Mi", "cpu": "6"}, on="two"),
    ]
    pod = b.pod(requests={"intel.com/foo": "2", "memory": "256Mi", "cpu": "2"})
    assert scored(NodeResourcesFit(strategy), pod, b.table(nodes, there)) == {"one": 60, "two": 69}


def test_most_allocated_packs() -> None:
    table = b.table([b.node("full"), b.node("empty")], [b.pod(requests={"cpu": "3"}, on="full")])
    found = scored(NodeResourcesFit(resource_scoring.most_allocated()), b.pod(requests={"cpu": "1"}), table)
    assert found is not None and found["full"] > found["empty"]


def test_ignored_resources_are_not_filtered_by() -> None:
    """TestEnoughRequests, "skip checking ignored extended resource via resource groups" (fit_test.go): cpu is never
    ignored."""
    table = b.table([b.node("a", {"cpu": "1", "pods": "9"})])
    pod = b.pod(requests={"example.com/a": "1", "example.org/b": "1"})
    assert refusals(NodeResourcesFit(), pod, table) == {"a": "Insufficient example.com/a"}
    plugin = NodeResourcesFit(ignored=Ignored({"example.com/a"}, {"example.org"}))
    assert refusals(plugin, pod, table) == {}
    cpu = NodeResourcesFit(ignored=Ignored({"cpu"}))
    assert refusals(cpu, b.pod(requests={"cpu": "2"}), table) == {"a": "Insufficient cpu"}


# -- NodeResourcesBalancedAllocation --------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(cluster=b.clusters(), pod=b.new_pods(), names=st.permutations(("cpu", "memory", "example.com/gpu")))
def test_balance_agrees_with_the_plain_rule(cluster: Cluster, pod: Obj, names: list[str]) -> None:
    table = b.table(*cluster)
    for name, score in (scored(BalancedAllocation(names), pod, table) or {}).items():
        row = table.row(name)
        assert row is not None
        assert score == balance(pod_info(pod), table.node(row), table.pods_on(row), names)
        assert 50 <= score <= 100


def test_a_pod_that_makes_a_node_more_even_is_welcome_there() -> None:
    """https://github.com/kubernetes/kubernetes/pull/135573: no change scores 75."""
    room = {"cpu": "4", "memory": "4Gi", "pods": "9"}
    table = b.table(
        [b.node("even", room), b.node("lopsided", room)],
        [b.pod(requests={"memory": "2Gi"}, on="lopsided")],
    )
    assert scored(BalancedAllocation(), b.pod(requests={"cpu": "2", "memory": "2Gi"}), table) == {
        "even": 75,
        "lopsided": 75,
    }
    assert scored(BalancedAllocation(), b.pod(requests={"cpu": "2"}), table) == {"even": 62, "lopsided": 87}


# -- NodeAffinity ---------------------------------------------------------------------------------------------


def _term(key: str, value: str) -> Obj:
    return {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}


def test_added_affinity_holds_besides_the_pods_own() -> None:
    """ "Added affinity matches node and pod affinity matches, but does not for the other" (node_affinity_test.go)."""
    nodes = [
        b.node("both", labels={"zone": "a", "disk": "b"}),
        b.node("own", labels={"disk": "b"}),
        b.node("none"),
    ]
    added = {
        node_selector.REQUIRED: {"nodeSelectorTerms": [_term("zone", "a")]},
        node_selector.PREFERRED: [{"weight": 3, "preference": _term("disk", "b")}],
    }
    plugin, table = NodeAffinity(added), b.table(nodes)
    assert refusals(plugin, b.pod(nodeSelector={"disk": "b"}), table) == {"own": ENFORCED, "none": ENFORCED}
    assert scored(plugin, b.pod(), table) == {"both": 100, "own": 100, "none": 0}
    assert scored(NodeAffinity(), b.pod(), table) is None


# -- InterPodAffinity -----------------------------------------------------------------------------------------


def _near(app: str, weight: int = 0) -> Obj:
    term = {"topologyKey": "host", "labelSelector": {"matchLabels": {"app": app}}}
    if weight:
        preferred = [{"weight": weight, "podAffinityTerm": term}]
        return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_hard_weight_and_ignored_preferences() -> None:
    """hardPodAffinityWeight and ignorePreferredTermsOfExistingPods (interpodaffinity/scoring_test.go)."""
    nodes = [b.node("a", labels={"host": "a"}), b.node("b", labels={"host": "b"})]
    there = [
        b.pod(on="a", affinity=_near("web"), labels={"app": "db"}),
        b.pod(on="b", affinity=_near("web", 10)),
    ]
    table, pod = b.table(nodes, there), b.pod(labels={"app": "web"})
    assert scored(InterPodAffinity(b.namespaces), pod, table) == {"a": 0, "b": 100}
    assert scored(InterPodAffinity(b.namespaces, 50), pod, table) == {"a": 100, "b": 0}
    assert (
        scored(InterPodAffinity(b.namespaces, 0), b.pod(labels={"app": "web"}), b.table(nodes, there[:1]))
        is None
    )
    ignoring = InterPodAffinity(b.namespaces, ignore_preferred=True)
    assert scored(ignoring, pod, table) is None
    wishes = b.pod(labels={"app": "web"}, affinity=_near("db", 1))
    assert scored(ignoring, wishes, table) == {"a": 0, "b": 100}


# -- PodTopologySpread ----------------------------------------------------------------------------------------


def test_default_constraints_of_the_configuration_filter_pods_of_a_group() -> None:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/#cluster-level-default-constraints"""
    nodes = [b.node("a", labels={"zone": "a"}), b.node("b", labels={"zone": "b"}), b.node("nowhere")]
    there = [b.pod(on="a", labels={"app": "web"}), b.pod(on="a", labels={"app": "web"})]
    table = b.table(nodes, there)
    listed = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    pod = b.pod(labels={"app": "web"})
    plugin = PodTopologySpread(b.group_of_app, listed)
    assert refusals(plugin, pod, table) == {"a": SKEW, "nowhere": MISSING}
    assert refusals(PodTopologySpread(lambda info: EVERYTHING, listed), pod, table) == {}
    assert refusals(PodTopologySpread(b.group_of_app, []), pod, table) == {}
    own = b.pod(
        labels={"app": "web"},
        topologySpreadConstraints=[{**listed[0], "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}],
    )
    assert refusals(plugin, own, table) == {}


def test_match_label_keys_count_one_revision_alone() -> None:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/ matchLabelKeys: "useful to
    roll out": pods of the old revision do not count."""
    nodes = [b.node("a", labels={"host": "a"}), b.node("b", labels={"host": "b"})]
    there = [b.pod(on="a", labels={"app": "web", "hash": "old"}) for _ in range(3)]
    constraint = {
        "maxSkew": 1,
        "topologyKey": "host",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
        "matchLabelKeys": ["hash"],
    }
    pod = b.pod(labels={"app": "web", "hash": "new"}, topologySpreadConstraints=[constraint])
    assert refusals(PodTopologySpread(b.default_group), pod, b.table(nodes, there)) == {}
    del constraint["matchLabelKeys"]
    assert refusals(PodTopologySpread(b.default_group), pod, b.table(nodes, there)) == {"a": SKEW}


# -- ImageLocality --------------------------------------------------------------------------------------------


def _with_images(name: str, images: dict[str, int]) -> Obj:
    made = b.node(name)
    made["status"]["images"] = [{"names": [image], "sizeBytes": size} for image, size in images.items()]
    return made


def _asking(*images: str, init: tuple[str, ...] = (), volumes: tuple[str, ...] = ()) -> Obj:
    made = b.pod()
    made["spec"]["containers"] = [{"name": f"c{i}", "image": image} for i, image in enumerate(images)]
    made["spec"]["initContainers"] = [{"name": f"i{i}", "image": image} for i, image in enumerate(init)]
    made["spec"]["volumes"] = [
        {"name": f"v{i}", "image": {"reference": ref}} for i, ref in enumerate(volumes)
    ]
    return made


_ONE = {"gcr.io/40:latest": 40 * MIB, "gcr.io/300:latest": 300 * MIB, "gcr.io/2000:latest": 2000 * MIB}
_TWO = {"gcr.io/250:latest": 250 * MIB, "gcr.io/10:latest": 10 * MIB}


@pytest.mark.parametrize(
    ("pod", "nodes", "expected"),
    [
        (_asking("gcr.io/40", "gcr.io/250"), [_ONE, _TWO], [0, 5]),
        (_asking("gcr.io/40", "gcr.io/300"), [_ONE, _TWO], [7, 0]),
        (_asking("gcr.io/10", "gcr.io/2000"), [_ONE, _TWO], [49, 0]),
        (_asking("gcr.io/10", "gcr.io/2000"), [_ONE, _TWO, {}], [32, 0, 0]),
        (_asking("gcr.io/10", init=("gcr.io/2000",)), [_ONE, _TWO, {}], [32, 0, 0]),
    ],
)
def test_the_examples_of_upstreams_own_test(
    pod: Obj, nodes: list[dict[str, int]], expected: list[int]
) -> None:
    """TestImageLocalityPriority (image_locality_test.go): "two images spread on two nodes, prefer the larger image
    one", "two images on one node, prefer this node", "if exceed limit, use limit" (with two containers the bound is
    2000M)."""
    table = b.table(_with_images(f"n{i}", images) for i, images in enumerate(nodes))
    found = scored(ImageLocality(), pod, table)
    assert found == {f"n{i}": score for i, score in enumerate(expected)}


def test_where_no_node_has_an_image_nothing_is_scored() -> None:
    assert scored(ImageLocality(), _asking("x"), b.table([b.node("a")])) is None


image_names = st.sampled_from(("a:latest", "b:v1", "reg:5000/c:latest", "d@sha256:1"))
image_sets = st.dictionaries(image_names, st.just(0))


@settings(max_examples=150, deadline=None)
@given(
    held=st.lists(image_sets, min_size=1, max_size=6),
    wanted=st.lists(st.sampled_from(("a", "b:v1", "reg:5000/c", "d@sha256:1", "e")), min_size=1, max_size=3),
    volumes=st.lists(st.sampled_from(("a", "b:v1")), max_size=2),
    gone=st.sets(st.integers(0, 5)),
    sizes=st.lists(st.sampled_from((1, 30 * MIB, 500 * MIB, 5000 * MIB)), min_size=4, max_size=4),
)
def test_image_columns_agree_with_the_plain_rule(
    held: list[dict[str, int]], wanted: list[str], volumes: list[str], gone: set[int], sizes: list[int]
) -> None:
    """Asked before and after nodes come, change and go: columns are kept up to date."""
    by_name = dict(zip(("a:latest", "b:v1", "reg:5000/c:latest", "d@sha256:1"), sizes, strict=True))
    nodes = [_with_images(f"n{i}", {name: by_name[name] for name in names}) for i, names in enumerate(held)]
    pod = _asking(*wanted, volumes=tuple(volumes))
    table = b.table([b.node(f"n{i}") for i in range(len(nodes) // 2)])
    scored(ImageLocality(), pod, table)
    for node in nodes:
        table.put_node(node)
    for number in gone:
        table.remove_node(f"n{number}")
    left = [node for i, node in enumerate(nodes) if i not in gone]
    found = scored(ImageLocality(), pod, table)
    plain = {n["metadata"]["name"]: image_locality.locality(pod_info(pod), n, left) for n in left}
    assert (found or dict.fromkeys(plain, 0)) == plain


# -- NodeDeclaredFeatures -------------------------------------------------------------------------------------


def test_a_pod_that_needs_a_feature_goes_where_it_is_declared() -> None:
    """KEP-5328; restartallcontainers and usernamespaceshostnetwork of component-helpers/nodedeclaredfeatures."""
    able = b.node("able")
    able["status"]["declaredFeatures"] = ["RestartAllContainersOnContainerExits"]
    table = b.table([able, b.node("old")])
    pod = b.pod()
    assert refusals(NodeDeclaredFeatures(), pod, table) == {}
    pod["spec"]["containers"][0]["restartPolicyRules"] = [{"action": "RestartAllContainers"}]
    why = (
        "node declared features check failed - unsatisfied requirements: RestartAllContainersOnContainerExits"
    )
    assert refusals(NodeDeclaredFeatures(), pod, table) == {"old": why}
    users = b.pod(hostNetwork=True, hostUsers=False)
    assert set(refusals(NodeDeclaredFeatures(), users, table)) == {"able", "old"}


# -- numbers of nodes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "percentage", "expected"),
    [
        (10, 0, 10),
        (40, 40, 40),
        (1000, 0, 420),
        (1000, 40, 400),
        (6000, 0, 300),
        (6000, 40, 2400),
        (500, 1, 100),
    ],
)
def test_how_many_nodes_are_enough(nodes: int, percentage: int, expected: int) -> None:
    """TestNumFeasibleNodesToFind (schedule_one_test.go)."""
    assert sampling.enough(nodes, percentage) == expected


def test_fewer_nodes_are_scored_when_asked_for_and_each_has_its_turn() -> None:
    table = b.table(b.node(f"n{i}") for i in range(200))
    profile = b.profile()
    profile.percentage = 50
    cycle = b.cycle(b.pod(), table, using=profile)
    assert len({decide(cycle) for _ in range(400)}) > 120


def test_preemption_compares_as_many_candidates_as_its_arguments_say() -> None:
    """GetOffsetAndNumCandidates (default_preemption_test.go TestCalculateNumCandidates)."""
    assert [preemption.Enough(10, 100).of(n) for n in (50, 500, 5000)] == [50, 100, 500]
    assert preemption.Enough(33, 10).of(100) == 33
    there = [b.pod(requests={"cpu": "4"}, on=f"n{i}") for i in range(20)]
    table = b.table([b.node(f"n{i}") for i in range(20)], there)
    cycle = b.cycle(b.pod(requests={"cpu": "1"}, priority=1), table)
    found, _ = preemption.candidates(cycle, Diagnosis(20, table.valid.copy()), [], preemption.Enough(0, 3))
    assert len(found) == 3
