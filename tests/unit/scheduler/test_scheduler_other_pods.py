"""Rules about other pods: inter-pod affinity and topology spread. On columns they say of every node what the plain
rules say of it alone, on generated clusters; and upstream's documented examples come out as documented."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import FilterPlugin
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.plugins import inter_pod_affinity, pod_topology_spread
from pilothouse.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from pilothouse.scheduler.plugins.pod_topology_spread import PodTopologySpread
from pilothouse.scheduler.pod_info import PodInfo, pod_info
from tests.unit.scheduler import builders as b

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
KEYS = st.sampled_from(("zone", "host"))
APPS = st.sampled_from(("web", "db", "cache"))
SELECTORS = st.one_of(
    st.builds(lambda app: {"matchLabels": {"app": app}}, APPS),
    st.builds(
        lambda apps: {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": apps}]},
        st.lists(APPS, min_size=1),
    ),
    st.just({}),
)
TERMS = st.fixed_dictionaries(
    {"topologyKey": KEYS, "labelSelector": SELECTORS},
    optional={
        "namespaces": st.lists(st.sampled_from(("default", "shop")), min_size=1, max_size=2, unique=True),
        "namespaceSelector": st.sampled_from(({}, {"matchLabels": {"production": "yes"}})),
    },
)
WEIGHTED = st.builds(lambda w, t: {"weight": w, "podAffinityTerm": t}, st.integers(1, 100), TERMS)
SIDES = st.fixed_dictionaries(
    {}, optional={REQUIRED: st.lists(TERMS, max_size=2), PREFERRED: st.lists(WEIGHTED, max_size=2)}
)
AFFINITIES = st.fixed_dictionaries({}, optional={"podAffinity": SIDES, "podAntiAffinity": SIDES})
CONSTRAINTS = st.fixed_dictionaries(
    {
        "topologyKey": KEYS,
        "maxSkew": st.integers(1, 2),
        "whenUnsatisfiable": st.just("DoNotSchedule"),
        "labelSelector": SELECTORS,
    },
    optional={
        "minDomains": st.integers(1, 4),
        "nodeAffinityPolicy": st.sampled_from(("Honor", "Ignore")),
        "nodeTaintsPolicy": st.sampled_from(("Honor", "Ignore")),
    },
)


@st.composite
def nodes(draw: st.DrawFn) -> list[Obj]:
    made = []
    for number in range(draw(st.integers(1, 6))):
        labels = {"host": f"n{number}"} if draw(st.booleans()) else {}
        if draw(st.integers(0, 4)):
            labels["zone"] = draw(st.sampled_from("abc"))
        made.append(b.node(f"n{number}", labels=labels, taints=draw(b.taints)))
    return made


@st.composite
def pods(draw: st.DrawFn, on: str = "") -> Obj:
    made = b.pod(
        labels={"app": draw(APPS)},
        namespace=draw(st.sampled_from(("default", "shop", "bank"))),
        on=on,
        affinity=draw(AFFINITIES),
        topologySpreadConstraints=draw(st.lists(CONSTRAINTS, max_size=2)),
        nodeSelector=draw(st.sampled_from(({}, {"zone": "a"}))),
    )
    if on and not draw(st.integers(0, 5)):
        made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return made


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Obj], list[Obj], Obj]:
    """Nodes, pods on them, and a pod that is new."""
    made = draw(nodes())
    there = [draw(pods(on=n["metadata"]["name"])) for n in made for _ in range(draw(st.integers(0, 3)))]
    return made, there, draw(pods())


World = tuple[list[Obj], list[Obj], Obj]


def _lodgers(world: World) -> list[tuple[PodInfo, Obj]]:
    by_name = {n["metadata"]["name"]: n for n in world[0]}
    return [(pod_info(p), by_name[p["spec"]["nodeName"]]) for p in world[1]]


def _reasons(plugin: FilterPlugin, pod: Obj, table: NodeTable) -> dict[str, str]:
    found = {table.name(int(row)): "" for row in np.flatnonzero(table.valid)}
    for rejection in plugin.filter(b.cycle(pod, table), table.valid.copy()):
        for row in np.flatnonzero(rejection.mask):
            found[table.name(int(row))] = rejection.reason
    return found


@settings(max_examples=300, deadline=None)
@given(world=worlds())
def test_affinity_on_columns_gives_each_node_its_plain_reason(world: World) -> None:
    made, there, new = world
    lodgers = _lodgers(world)
    expected = {
        n["metadata"]["name"]: inter_pod_affinity.refusal(pod_info(new), n, lodgers, b.namespaces)
        for n in made
    }
    assert _reasons(InterPodAffinity(b.namespaces), new, b.table(made, there)) == expected


@settings(max_examples=200, deadline=None)
@given(world=worlds())
def test_attraction_on_columns_ranks_nodes_as_the_plain_rule_does(world: World) -> None:
    made, there, new = world
    table = b.table(made, there)
    cycle = b.cycle(new, table)
    plugin = InterPodAffinity(b.namespaces)
    rows = np.flatnonzero(table.valid)
    plain = [
        inter_pod_affinity.attraction(pod_info(new), table.node(int(r)), _lodgers(world), b.namespaces)
        for r in rows
    ]
    if not plugin.pre_score(cycle, rows):
        assert not any(plain)
        return
    span = max(plain) - min(plain)
    expected = [int(100 * ((p - min(plain)) / span)) if span else 0 for p in plain]
    assert list(plugin.score(cycle, rows)) == expected


@settings(max_examples=300, deadline=None)
@given(world=worlds())
def test_spread_on_columns_gives_each_node_its_plain_reason(world: World) -> None:
    made, there, new = world
    lodgers = _lodgers(world)
    expected = {
        n["metadata"]["name"]: pod_topology_spread.refusal(pod_info(new), n, made, lodgers) for n in made
    }
    assert _reasons(PodTopologySpread(b.default_group), new, b.table(made, there)) == expected


@settings(max_examples=100, deadline=None)
@given(world=worlds(), chance=st.randoms(use_true_random=False))
def test_counts_that_are_kept_are_those_of_counting_anew(world: World, chance: Any) -> None:
    """The first question counts; pods that come and go afterwards are added and taken."""
    made, there, new = world
    plugins: list[FilterPlugin] = [InterPodAffinity(b.namespaces), PodTopologySpread(b.default_group)]
    kept = b.table(made)
    for plugin in plugins:
        _reasons(plugin, new, kept)
    for pod in there:
        kept.put_pod(pod_info(pod))
    gone = [pod for pod in there if chance.random() < 0.5]
    for pod in gone:
        kept.remove_pod(pod["metadata"]["uid"])
    anew = b.table(made, [pod for pod in there if pod not in gone])
    for plugin in plugins:
        assert _reasons(plugin, new, kept) == _reasons(plugin, new, anew)
    assert set(kept.carriers) == set(anew.carriers)


# -- documented examples ------------------------------------------------------------------------------------

ZONES = [b.node(f"n{i}", labels={"zone": zone, "host": f"n{i}"}) for i, zone in enumerate("AABB", 1)]
FOO = {"matchLabels": {"foo": "bar"}}


def _spread(key: str, **more: Any) -> Obj:
    return {
        "topologyKey": key,
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": FOO,
        **more,
    }


def _foo(on: str = "", *constraints: Obj) -> Obj:
    return b.pod(labels={"foo": "bar"}, on=on, topologySpreadConstraints=list(constraints))


def _places(there: list[Obj], new: Obj, nodes: list[Obj] = ZONES) -> set[str]:
    return {
        n
        for n, why in _reasons(PodTopologySpread(b.default_group), new, b.table(nodes, there)).items()
        if not why
    }


def test_one_constraint_fills_the_emptier_zone() -> None:
    """…/topology-spread-constraints/#example-one-topologyspreadconstraint: zone A has two, zone B one."""
    there = [_foo("n1"), _foo("n2"), _foo("n3")]
    assert _places(there, _foo("", _spread("zone"))) == {"n3", "n4"}


def test_two_constraints_must_both_hold() -> None:
    """…/#example-multiple-topologyspreadconstraints: only node4 is left."""
    there = [_foo("n1"), _foo("n2"), _foo("n3")]
    assert _places(there, _foo("", _spread("zone"), _spread("host"))) == {"n4"}


def test_two_constraints_can_contradict_each_other() -> None:
    """…/#example-conflicting-topologyspreadconstraints: zone wants B, host wants node2."""
    nodes = [b.node(f"n{i}", labels={"zone": zone, "host": f"n{i}"}) for i, zone in enumerate("AAB", 1)]
    there = [_foo("n1"), _foo("n1"), _foo("n2"), _foo("n3"), _foo("n3")]
    assert _places(there, _foo("", _spread("zone"), _spread("host")), nodes) == set()


def test_with_fewer_domains_than_wanted_the_emptiest_counts_as_empty() -> None:
    """KEP-3022 minDomains."""
    there = [_foo("n1"), _foo("n3")]
    assert _places(there, _foo("", _spread("zone"))) == {"n1", "n2", "n3", "n4"}
    assert _places(there, _foo("", _spread("zone", minDomains=3))) == set()


def test_pods_of_a_group_without_constraints_still_spread() -> None:
    """…/#internal-default-constraints: a soft constraint over nodes and over zones."""
    there = [b.pod(labels={"app": "web"}, on=name) for name in ("n1", "n1", "n2")]
    table = b.table([b.node(f"n{i}", labels={"kubernetes.io/hostname": f"n{i}"}) for i in (1, 2, 3)], there)
    plugin = PodTopologySpread(b.group_of_app)
    cycle = b.cycle(b.pod(labels={"app": "web"}), table)
    rows = np.flatnonzero(table.valid)
    assert plugin.pre_score(cycle, rows)
    scores = dict(zip([table.name(int(r)) for r in rows], plugin.score(cycle, rows), strict=True))
    assert scores["n3"] > scores["n2"] > scores["n1"]


def test_the_first_pod_of_a_group_that_wants_its_own_kind_goes_anywhere() -> None:
    """…/assign-pod-node/#inter-pod-affinity-and-anti-affinity: no other pod matches, and it matches its own terms."""
    term = {"topologyKey": "zone", "labelSelector": FOO}
    new = b.pod(labels={"foo": "bar"}, affinity={"podAffinity": {REQUIRED: [term]}})
    plugin = InterPodAffinity(b.namespaces)
    nodes = [*ZONES, b.node("nowhere")]
    assert _reasons(plugin, new, b.table(nodes)) == {
        "n1": "", "n2": "", "n3": "", "n4": "", "nowhere": inter_pod_affinity.AFFINITY,
    }  # fmt: skip
    second = _reasons(plugin, new, b.table(nodes, [_foo("n3")]))
    assert {name for name, why in second.items() if not why} == {"n3", "n4"}
