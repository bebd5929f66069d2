"""A deployment's arithmetic (k8s.io/kubernetes/pkg/controller/deployment/util,
https://kubernetes.io/docs/concepts/workloads/controllers/deployment/)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.types import Obj
from pilothouse.controllers import deployment_rules as rules

TEMPLATE: Obj = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}


def deployment(replicas: int, surge: Any = "25%", unavailable: Any = "25%", **spec: Any) -> Obj:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    return {
        "metadata": {"name": "web", "generation": 1},
        "spec": {"replicas": replicas, "strategy": strategy, "template": TEMPLATE, **spec},
    }


def replica_set(name: str, size: int, *, age: int = 0, annotations: Obj | None = None, **status: int) -> Obj:
    stamp = f"2026-01-01T00:00:{59 - age:02}Z"
    meta: Obj = {"name": name, "uid": name, "creationTimestamp": stamp, "generation": 1}
    if annotations:
        meta["annotations"] = annotations
    return {"metadata": meta, "spec": {"replicas": size, "template": TEMPLATE}, "status": status}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "fence"),
    [
        (10, "25%", "25%", (3, 2)),  # surge is rounded up, unavailability down
        (1, "25%", "25%", (1, 0)),
        (3, 0, "10%", (0, 1)),  # neither may be 0, or nothing could move
        (5, 2, 0, (2, 0)),
        (5, "100%", "100%", (5, 5)),
        (0, "25%", "25%", (0, 1)),
    ],
)
def test_bounds_of_a_rolling_update(replicas: int, surge: Any, unavailable: Any, fence: Any) -> None:
    assert rules.fence(deployment(replicas, surge, unavailable)) == fence


def test_unavailability_is_no_more_than_there_is() -> None:
    assert rules.max_unavailable(deployment(2, 0, 5)) == 2
    assert rules.max_unavailable(deployment(0, 1, 1)) == 0
    assert (
        rules.max_unavailable({**deployment(2), "spec": {"replicas": 2, "strategy": {"type": "Recreate"}}})
        == 0
    )


@pytest.mark.parametrize(
    ("wanted", "old", "new", "size"),
    [(10, 10, 0, 3), (10, 8, 5, 5), (10, 5, 5, 8), (10, 0, 9, 10), (2, 5, 1, 1)],
)
def test_size_of_the_new_set(wanted: int, old: int, new: int, size: int) -> None:
    """maxSurge 30%: room up to replicas + surge, never more than replicas (NewRSNewReplicas)."""
    present = replica_set("new", new)
    sets = [replica_set("old", old), present]
    assert rules.new_set_size(deployment(wanted, "30%"), sets, present) == size


def test_proportional_scaling_of_the_documentation() -> None:
    """10 → 15 with maxSurge 3 and maxUnavailable 2, in the middle of a rollout: 3 of the 5 go to the old set, 2 to the
    new one (Concepts, Deployments, Proportional scaling)."""
    before = {rules.MAX_REPLICAS: "13", rules.DESIRED_REPLICAS: "10"}
    sets = [replica_set("old", 8, age=9, annotations=before), replica_set("new", 5, annotations=before)]
    assert rules.is_scaling(deployment(15, 3, 2), sets)
    assert rules.proportional(deployment(15, 3, 2), sets) == {"old": 11, "new": 7}


def test_leftovers_go_to_the_largest_set() -> None:
    before = {rules.MAX_REPLICAS: "10"}
    sets = [
        replica_set(n, s, age=a, annotations=before) for n, s, a in (("a", 4, 3), ("b", 3, 2), ("c", 3, 1))
    ]
    assert rules.proportional(deployment(11, 0, 1), sets) == {"a": 5, "b": 3, "c": 3}
    assert rules.proportional(deployment(0, 0, 1), sets) == {"a": 0, "b": 0, "c": 0}


def test_without_an_annotation_the_present_size_counts() -> None:
    """An annotation of 0 is none (getReplicaSetFraction)."""
    d = {**deployment(20, 0, 1), "status": {"replicas": 10}}
    for noted in ({}, {rules.MAX_REPLICAS: "0"}, {rules.MAX_REPLICAS: "x"}):
        assert rules.fraction(replica_set("rs", 5, annotations=noted), d) == 5


def test_unhealthy_old_pods_go_first_and_oldest_sets_before_younger() -> None:
    older, younger = replica_set("older", 3, age=9, availableReplicas=3), replica_set("younger", 3)
    sizes = rules.without_unhealthy([younger, older], 2)
    assert [(rs["metadata"]["name"], size) for rs, size in sizes] == [("older", 3), ("younger", 1)]
    sizes = rules.without([younger, older], 4)
    assert [(rs["metadata"]["name"], size) for rs, size in sizes] == [("older", 0), ("younger", 2)]
    assert [size for _, size in rules.without([older], -1)] == [3]


def test_revisions_that_a_set_served_are_remembered() -> None:
    current = {rules.REVISION: "1", rules.REVISION_HISTORY: "3"}
    wanted = rules.new_annotations(deployment(1), current, 5, exists=True)
    assert (wanted[rules.REVISION], wanted[rules.REVISION_HISTORY]) == ("5", "3,1")
    unchanged = rules.new_annotations(deployment(1), {rules.REVISION: "7"}, 5, exists=True)
    assert unchanged == {rules.REVISION: "7"}
    broken = {rules.REVISION: "x"}
    assert rules.new_annotations(deployment(1), broken, 5, exists=True) == broken


def test_history_is_bounded() -> None:
    """2,000 characters; the oldest are forgotten."""
    long = ",".join(str(n) for n in range(1000, 1400))
    current = {rules.REVISION: "1400", rules.REVISION_HISTORY: long}
    history = rules.new_annotations(deployment(1), current, 1401, exists=True)[rules.REVISION_HISTORY]
    assert history.endswith(",1399,1400")
    assert len(history) <= 2000


def test_which_annotations_are_copied() -> None:
    d = deployment(3)
    d["metadata"]["annotations"] = {
        "kubernetes.io/change-cause": "new image",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        rules.REVISION: "9",
        rules.ROLLBACK_TO: "1",
    }
    assert rules.new_annotations(d, {}, 1, exists=False) == {
        "kubernetes.io/change-cause": "new image",
        rules.REVISION: "1",
        rules.DESIRED_REPLICAS: "3",
        rules.MAX_REPLICAS: "4",
    }


def test_sets_beyond_the_limit_go_by_revision_and_only_when_empty() -> None:
    def old(name: str, revision: str, size: int = 0) -> Obj:
        return replica_set(name, size, annotations={rules.REVISION: revision}, observedGeneration=1)

    sets = [old("c", "10"), old("a", "2"), old("b", "9", size=1)]
    assert [rs["metadata"]["name"] for rs in rules.expendable(sets, 1)] == ["a"]
    assert [rs["metadata"]["name"] for rs in rules.expendable(sets, 0)] == ["a", "c"]
    assert rules.expendable(sets, 3) == []


def test_last_revision_is_the_second_highest() -> None:
    sets = [replica_set(n, 0, annotations={rules.REVISION: n}) for n in ("3", "10", "9")]
    assert rules.last_revision(sets) == 9
    assert rules.last_revision(sets[:1]) == 0


def test_the_new_set_is_the_oldest_of_equal_ones() -> None:
    sets = [replica_set("young", 1), replica_set("old", 1, age=5)]
    found = rules.find_new(deployment(1), sets)
    assert found is not None
    assert found["metadata"]["name"] == "old"


def test_pods_that_are_about_to_go_are_not_counted_on() -> None:
    """As seen in a roll of 1,000: the old set was made smaller by 64 and still reports 900 available pods. Counted
    as they are reported, another 100 could go, and 836 would be left of the 900 that must be."""
    d = {"spec": {"replicas": 1000, "strategy": {"type": "RollingUpdate"}}}
    d["spec"]["strategy"]["rollingUpdate"] = {"maxSurge": 0, "maxUnavailable": "10%"}
    old = {"spec": {"replicas": 836}, "status": {"replicas": 900, "availableReplicas": 900}}
    new = {"spec": {"replicas": 164}, "status": {"replicas": 100, "availableReplicas": 100}}
    assert rules.spare(d, [old, new]) == 36
    assert rules.unavailable(old) == 0
    assert rules.unavailable(new) == 64


def test_terminating_pods_are_counted_when_every_set_counts_them() -> None:
    """A set that no controller has looked at yet has none (TestGetReplicaCountForReplicaSets)."""
    counted = replica_set("a", 2, observedGeneration=1, terminatingReplicas=2)
    fresh = replica_set("b", 1)
    older = replica_set("c", 1, observedGeneration=1)
    assert rules.terminating([counted, fresh]) == 2
    assert rules.terminating([counted, older]) is None
    assert "terminatingReplicas" not in rules.calculate_status(deployment(4), [older], None, "now")
