"""Interference: who disturbs whom, on columns and neighbour by neighbour, and what is learned of it."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.scheduler.annotated import InvalidAnnotation
from pilothouse.scheduler.plugins.interference import SLOWDOWN, Interference, _Watcher, cost
from pilothouse.scheduler.pod_info import pod_info
from pilothouse.scheduler.pressure import CAPACITY, CLASS, PRESSURE, SENSITIVITY, Declared, read
from pilothouse.scheduler.slowdowns import Slowdowns
from tests.unit.scheduler.builders import cycle, node, pod, table
from tests.unit.scheduler.test_scheduler_loop import Running, virtual


def handle() -> Any:
    """For a plugin that is asked directly."""
    informer = SimpleNamespace(add_handler=lambda handler: None)
    return SimpleNamespace(
        informers=SimpleNamespace(informer=lambda resource: informer),
        recorder=SimpleNamespace(event=lambda *args, **more: None),
    )


def noted(made: Obj, **notes: str) -> Obj:
    """`notes`: pressure, sensitivity, class_."""
    keys = {"pressure": PRESSURE, "sensitivity": SENSITIVITY, "class_": CLASS}
    made["metadata"]["annotations"] = {keys[name]: text for name, text in notes.items() if text}
    return made


# -- what is declared ---------------------------------------------------------------------------------------


def test_what_is_declared_is_read() -> None:
    """In the order cpu, memory-bandwidth, cache, disk, network."""
    found = read({PRESSURE: "cpu=1500m, cache=20Mi", SENSITIVITY: "cache=0.3,network=0.05", CLASS: "web"})
    assert found == Declared((1500, 0, 20 << 20, 0, 0), (1000, 0, 300, 0, 50), "web")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (PRESSURE, "gpu=1"),
        (PRESSURE, "cpu"),
        (PRESSURE, "cpu=-1"),
        (PRESSURE, "cache=much"),
        (SENSITIVITY, "cache=NaN"),
        (SENSITIVITY, "cache=11"),
    ],
)
def test_what_cannot_be_read_says_what_it_should_look_like(key: str, text: str) -> None:
    with pytest.raises(InvalidAnnotation, match=f"annotation {key} must be .*"):
        read({key: text})


# -- columns and the plain rule -----------------------------------------------------------------------------

kinds = st.sampled_from(("cpu", "memory-bandwidth", "cache", "disk", "network"))
pressures = st.dictionaries(kinds, st.sampled_from(("0", "1", "500m", "20Mi", "3G", "999T")), max_size=3)
shares = st.dictionaries(kinds, st.sampled_from(("0", "0.25", "1", "10")), max_size=3)
classes = st.sampled_from(("", "web", "batch"))
rooms = st.dictionaries(kinds, st.sampled_from(("0", "1", "2", "64Mi", "10G", "x")), max_size=3)


def _text(found: dict[str, str]) -> str:
    return ",".join(f"{kind}={value}" for kind, value in found.items())


@st.composite
def neighbours(draw: st.DrawFn, on: str = "") -> Obj:
    made = pod(on=on) if on else pod()
    return noted(made, pressure=_text(draw(pressures)), sensitivity=_text(draw(shares)), class_=draw(classes))


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Obj], list[Obj]]:
    nodes, pods = [], []
    for number in range(draw(st.integers(1, 5))):
        labels = {CAPACITY + kind: text for kind, text in draw(rooms).items()}
        nodes.append(node(f"n{number}", labels=labels))
        pods += [draw(neighbours(f"n{number}")) for _ in range(draw(st.integers(0, 4)))]
    return nodes, pods


@given(clusters(), neighbours(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_columns_agree_with_the_plain_rule(
    cluster: tuple[list[Obj], list[Obj]], new: Obj, learned: bool
) -> None:
    nodes, pods = cluster
    known = [{"class": "web", "beside": "batch", "slowdown": 1.7}] if learned else []
    plugin = Interference({"slowdowns": known}, handle())
    info, on = pod_info(new), table(nodes, pods)
    if info.declared is None:
        return
    found = plugin.costs(info.declared, on)
    for each in nodes:
        there = [pod_info(p) for p in pods if p["spec"]["nodeName"] == each["metadata"]["name"]]
        row = on.row(each["metadata"]["name"])
        assert row is not None
        assert found[row] == cost(info, each, there, plugin.slowdowns, plugin._capacities)


def test_a_pod_that_leaves_presses_no_more() -> None:
    there = noted(pod(on="a"), pressure="disk=100M")
    on = table([node("a"), node("b")], [there])
    assert len(on.declared) == 1
    on.remove_pod(there["metadata"]["uid"])
    assert on.declared == {}


def test_nodes_score_by_the_slowdown_that_the_new_pod_would_suffer_and_do() -> None:
    pods = [
        noted(pod(on="noisy"), pressure="memory-bandwidth=80G", sensitivity="memory-bandwidth=0"),
        noted(pod(on="so-so"), pressure="memory-bandwidth=40G", sensitivity="memory-bandwidth=0"),
        noted(pod(on="other"), pressure="disk=400M"),
    ]
    on = table([node(name) for name in ("noisy", "so-so", "other", "empty")], pods)
    new = cycle(noted(pod(), sensitivity="memory-bandwidth=0.5"), on)
    plugin, rows = Interference({}, handle()), np.arange(4)
    rows = np.array([on.row(name) for name in ("noisy", "so-so", "other", "empty")])
    assert plugin.pre_score(new, rows)
    assert plugin.score(new, rows).tolist() == [0, 50, 100, 100]


def test_it_is_left_out_where_nothing_is_declared() -> None:
    plugin = Interference({}, handle())
    on = table([node("a"), node("b")], [noted(pod(on="a"), pressure="disk=400M")])
    assert not plugin.pre_score(cycle(pod(), on), np.array([on.row("a"), on.row("b")]))
    quiet = table([node("a"), node("b")], [pod(on="a")])
    assert not plugin.pre_score(cycle(noted(pod(), pressure="disk=400M"), quiet), np.array([0, 1]))


@pytest.mark.parametrize(
    "args",
    [
        {"weights": {}},
        {"capacity": {"gpu": "1"}},
        {"capacity": {"disk": "much"}},
        {"learningRate": 0},
        {"slowdowns": [{"class": "web"}]},
    ],
)
def test_arguments_that_make_no_sense_are_refused(args: Obj) -> None:
    with pytest.raises(ValueError, match=r"argument|kind|capacity|learningRate|slowdowns"):
        Interference(args, handle())


# -- what is learned ----------------------------------------------------------------------------------------


def test_estimates_come_to_what_is_measured() -> None:
    """Three classes beside each other in all mixtures, with noise: each pair's own share is found."""
    truth = {"batch": 0.4, "web": 0.05, "cache": 0.0}
    chance, learned = random.Random(4), Slowdowns()
    for _ in range(800):
        beside = {name: chance.randint(0, 2) for name in truth}
        beside = {name: n for name, n in beside.items() if n}
        slower = sum(truth[name] * n for name, n in beside.items()) + chance.gauss(0, 0.02)
        learned.observe("db", beside, 1 + slower)
    for name, share in truth.items():
        assert learned.estimate("db", name) == pytest.approx(share * 1000, abs=60)
    assert learned.estimate("db", "unheard-of") is None


def test_estimates_follow_a_workload_that_changes() -> None:
    learned = Slowdowns()
    for slowdown in [1.5] * 30 + [1.1] * 30:
        learned.observe("db", {"batch": 1}, slowdown)
    assert learned.estimate("db", "batch") == pytest.approx(100, abs=5)


def test_who_runs_alone_teaches_nothing() -> None:
    learned = Slowdowns()
    learned.observe("db", {}, 3.0)
    assert (len(learned), learned.observations) == (0, 0)


def test_measurements_count_for_those_who_are_there() -> None:
    learned = Slowdowns(rate=1.0)
    watcher = _Watcher(learned)
    victim, batch, gone, far = (
        noted(pod(on=on), class_=c) for on, c in zip("aaab", ("db", "batch", "web", "ml"), strict=True)
    )
    for each in (victim, batch, gone, far):
        watcher.on_add(each)
    watcher.on_delete(gone)
    notes = {**victim["metadata"]["annotations"], SLOWDOWN: "1.4"}
    watcher.on_update(victim, {**victim, "metadata": {**victim["metadata"], "annotations": notes}})
    assert learned.estimate("db", "batch") == 400
    assert [learned.estimate("db", other) for other in ("web", "ml", "db")] == [None, None, None]


@virtual()
async def test_antagonists_are_kept_apart_once_a_slowdown_was_measured(c: Running) -> None:
    """Nothing is declared but classes; an agent writes what it measures on the pod."""

    async def create(name: str, class_name: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "annotations": {CLASS: class_name}},
            "spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "100m"}}}]},
        }
        await c.client.create(PODS, body, "default")

    await c.node("a")
    await create("db-0", "db")
    await create("batch-0", "batch")
    await c.settle()
    measured = {"metadata": {"annotations": {SLOWDOWN: "1.8"}}}
    await c.client.patch(PODS, "db-0", measured, "default")
    await c.node("b")
    await c.client.patch(PODS, "batch-0", {"metadata": {"labels": {"seen": "yes"}}}, "default")
    await c.settle()
    await c.client.delete(PODS, "db-0", "default", {"gracePeriodSeconds": 0})
    await c.settle()
    await c.client.create(
        PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "filler"},
            "spec": {
                "nodeName": "b",
                "containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "200m"}}}],
            },
        },
        "default",
    )
    await create("db-1", "db")
    await c.settle()
    assert await c.place("db-1") == "b", "b is fuller, but there is no batch on it"
