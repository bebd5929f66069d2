"""DataLocality: near to the data, on columns and node by node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.resources import NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.scheduler.annotated import InvalidAnnotation
from pilothouse.scheduler.locality import (
    DATA_SETS,
    HELD,
    LEVELS,
    WITHIN,
    Location,
    Wanted,
    nearness,
    score,
    wanted_by,
)
from pilothouse.scheduler.plugins.data_locality import DataLocality
from tests.unit.scheduler.builders import cycle, node, pod, table
from tests.unit.scheduler.test_scheduler_interference import handle
from tests.unit.scheduler.test_scheduler_loop import Running, virtual

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
IN_ZONE_A = [{"name": "shared", "topologyKey": ZONE, "values": ["a"]}]


def wanting(sets: str, within: str = "") -> Obj:
    made = pod()
    made["metadata"]["annotations"] = {DATA_SETS: sets} | ({WITHIN: within} if within else {})
    return made


def test_what_is_wanted_is_read() -> None:
    assert wanted_by(pod()) is None
    assert wanted_by(wanting("imagenet=2Ki, labels", ZONE)) == Wanted(
        (("imagenet", 2048), ("labels", 1)), ZONE
    )


@pytest.mark.parametrize(("sets", "within"), [("x=big", ""), ("x=0", ""), ("=1", ""), ("x", "zone")])
def test_what_cannot_be_read_says_what_it_should_look_like(sets: str, within: str) -> None:
    with pytest.raises(InvalidAnnotation, match=r"annotation .* must be "):
        wanted_by(wanting(sets, within))


@st.composite
def clusters(draw: st.DrawFn) -> list[Obj]:
    made = []
    for number in range(draw(st.integers(1, 7))):
        labels = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    ZONE: st.sampled_from("abc"),
                    REGION: st.sampled_from("xy"),
                    HELD + "one": st.sampled_from(("true", "false", "")),
                    HELD + "two": st.sampled_from(("v1", "v2")),
                    HELD + "shared": st.just("true"),
                },
            )
        )
        made.append(node(f"n{number}", labels=labels))
    return made


@given(
    clusters(),
    st.dictionaries(st.sampled_from(("one", "two", "shared", "none")), st.integers(1, 9), min_size=1),
    st.sampled_from(("", *(level.key for level in LEVELS))),
    st.sampled_from((ZONE, REGION)),
)
@settings(max_examples=150, deadline=None)
def test_the_columns_agree_with_the_plain_rule(
    nodes: list[Obj], sizes: dict[str, int], within: str, key: str
) -> None:
    lives = {"name": "shared", "topologyKey": key, "values": ["a", "x"]}
    plugin = DataLocality({"dataSets": [lives]}, handle())
    new = cycle(wanting(",".join(f"{name}={size}" for name, size in sizes.items()), within), table(nodes))
    on, farthest = new.table, [level.key for level in LEVELS].index(within) if within else len(LEVELS)
    out = on.empty_mask()
    for rejection in plugin.filter(new, on.valid):
        out |= rejection.mask
    rows = np.flatnonzero(on.valid)
    tells = plugin.pre_score(new, rows)
    scores = dict(zip(rows, plugin.score(new, rows), strict=True))
    places = {"shared": Location(key, frozenset("ax"))}
    for row in rows:
        reached = {name: nearness(on.node(int(row)), name, nodes, LEVELS, places) for name in sizes}
        assert out[row] == any(number > farthest for number in reached.values())
        assert scores[row] == score((reached[name], size) for name, size in sizes.items())
    assert tells or not any(scores.values())


def test_the_node_goes_before_its_zone_and_the_zone_before_its_region() -> None:
    """The table of docs/scheduling/README.md."""
    nodes = [
        node("holder", labels={ZONE: "a", REGION: "x", HELD + "imagenet": "true"}),
        node("same-zone", labels={ZONE: "a", REGION: "x"}),
        node("same-region", labels={ZONE: "b", REGION: "x"}),
        node("far", labels={ZONE: "c", REGION: "y"}),
    ]
    on = table(nodes)
    rows = np.array([on.row(each["metadata"]["name"]) for each in nodes])
    new, plugin = cycle(wanting("imagenet"), on), DataLocality({}, handle())
    assert plugin.pre_score(new, rows)
    assert plugin.score(new, rows).tolist() == [100, 50, 25, 0]


def test_a_data_set_of_a_zone_is_on_no_node_of_it() -> None:
    on = table([node("in", labels={ZONE: "a", REGION: "x"}), node("by", labels={ZONE: "b", REGION: "x"})])
    rows = np.array([on.row("in"), on.row("by")])
    new, plugin = cycle(wanting("shared"), on), DataLocality({"dataSets": IN_ZONE_A}, handle())
    assert plugin.pre_score(new, rows)
    assert plugin.score(new, rows).tolist() == [50, 25]


def test_it_is_left_out_for_pods_that_name_nothing_and_data_that_is_nowhere() -> None:
    on, plugin = table([node("a"), node("b")]), DataLocality({}, handle())
    assert not plugin.pre_score(cycle(pod(), on), np.array([0, 1]))
    assert not plugin.pre_score(cycle(wanting("unheard-of"), on), np.array([0, 1]))


@pytest.mark.parametrize(
    "args",
    [
        {"level": []},
        {"levels": [{"key": ZONE, "score": 5}]},
        {"levels": [{"key": LEVELS[0].key, "score": 500}]},
        {"dataSets": [{"name": "x"}]},
        {"dataSets": [{"name": "x", "topologyKey": "rack", "values": ["1"]}]},
    ],
)
def test_arguments_that_make_no_sense_are_refused(args: Obj) -> None:
    with pytest.raises(ValueError, match=r"argument|levels|dataSets"):
        DataLocality(args, handle())


@virtual()
async def test_a_pod_waits_for_a_node_that_is_near_enough(c: Running) -> None:
    await c.node("a")
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "train", "annotations": {DATA_SETS: "imagenet", WITHIN: LEVELS[0].key}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    await c.client.create(PODS, body, "default")
    await c.settle()
    text = (await c.condition("train"))["message"]
    assert text.startswith('0/1 nodes are available: 1 node(s) were too far from data set "imagenet".')
    await c.client.patch(NODES, "a", {"metadata": {"labels": {HELD + "imagenet": "true"}}})
    await c.settle(5)
    assert await c.place("train") == "a"
