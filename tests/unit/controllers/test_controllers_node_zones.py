"""Rate limits on eviction (https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction,
k8s.io/kubernetes/pkg/controller/nodelifecycle)."""

from __future__ import annotations

import pytest

from pilothouse.controllers.node_zones import Rates, Zones, counts, zone_of


def zones(up: int, down: int, zone: str = "z") -> Zones:
    found = Zones(Rates())
    for n in range(up + down):
        found.observe(f"{zone}-{n}", zone, ready=n >= down)
    return found


@pytest.mark.parametrize(
    ("up", "down", "second_s"),
    [
        (7, 3, 10.0),  # normal: 0.1 a second
        (0, 1, None),  # every zone is down: nobody
        (1, 2, 10.0),  # two are not "much", whatever their share
        (2, 3, None),  # 60% of a small zone
        (20, 35, 100.0),  # 64% of a large one: 0.01 a second
        (30, 25, 10.0),  # 45%
    ],
)
def test_rate_by_the_state_of_the_zone(up: int, down: int, second_s: float | None) -> None:
    found = zones(up, down)
    if second_s is None:
        assert found.wait_s("z-0", 1000.0) is None
        return
    assert found.wait_s("z-0", 1000.0) == 0
    assert found.wait_s("z-1", 1000.0) == pytest.approx(second_s)
    assert found.wait_s("z-1", 1000.0 + second_s) == 0


def test_a_zone_that_is_down_alone_is_emptied_at_the_full_rate() -> None:
    found = zones(0, 5)
    assert found.all_down
    assert found.observe("other", "y", ready=True), "no longer all of them"
    assert found.wait_s("z-0", 0.0) == 0
    assert found.forget("other"), "and again"
    assert found.all_down


def test_each_zone_has_a_rate_of_its_own() -> None:
    found = zones(5, 1, "a")
    for n in range(4):
        found.observe(f"b-{n}", "b", ready=n > 0)
    assert [found.wait_s(n, 50.0) for n in ("a-0", "b-0")] == [0, 0]


def test_a_node_may_move() -> None:
    found = zones(0, 1)
    found.observe("z-0", "elsewhere", ready=True)
    assert not found.all_down


def test_zone_names_and_nodes_that_do_not_count() -> None:
    def node(**labels: str) -> dict[str, dict[str, dict[str, str]]]:
        return {"metadata": {"labels": labels}}

    region, zone = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
    assert zone_of(node()) == ""
    assert zone_of(node(**{region: "r", zone: "z"})) == "r:\x00:z"
    assert zone_of(node(**{zone: "z"})) == ":\x00:z"
    assert counts(node())
    assert not counts(node(**{"node.kubernetes.io/exclude-disruption": ""}))
