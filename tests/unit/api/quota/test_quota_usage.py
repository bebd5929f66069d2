"""Counting what is used of a quota (k8s.io/apiserver/pkg/quota/v1 CalculateUsage, pkg/controller/resourcequota)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import amounts
from pilothouse.api.quota import usage
from pilothouse.api.quota.evaluator import Evaluator
from pilothouse.api.quota.registry import evaluator
from pilothouse.api.types import Obj
from tests.admission import container, pod

EVALUATORS = (evaluator("", "pods"), evaluator("", "services"), evaluator("apps", "deployments"))


def quota(hard: dict[str, str], status: Obj | None = None, **spec: Any) -> Obj:
    return {
        "metadata": {"name": "q", "namespace": "ns"},
        "spec": {"hard": hard, **spec},
        "status": status or {},
    }


def counted(of: Obj, *pods: Obj) -> dict[str, str]:
    def objects(asked: Evaluator) -> tuple[Obj, ...]:
        return pods if asked.plural == "pods" else ()

    return amounts.texts(usage.calculate(of, EVALUATORS, objects, 0.0))


def test_everything_known_is_counted_also_when_there_is_nothing() -> None:
    asked = quota(
        {"pods": "5", "requests.cpu": "2", "count/deployments.apps": "1", "count/unknown.example.com": "1"}
    )
    assert counted(asked, pod(containers=[container("c", {"cpu": "1"})]), pod()) == {
        "count/deployments.apps": "0",
        "pods": "2",
        "requests.cpu": "1",
    }


def test_a_scope_leaves_others_out() -> None:
    scoped = quota({"pods": "5"}, scopes=["BestEffort"])
    assert counted(scoped, pod(), pod(containers=[container("c", {"cpu": "1"})])) == {"pods": "1"}
    selected = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
    by_class = quota({"pods": "5"}, scopeSelector=selected)
    assert counted(by_class, pod(priorityClassName="high"), pod()) == {"pods": "1"}


def test_a_plain_priority_class_scope_counts_nothing() -> None:
    """Upstream's CalculateUsageStats leaves the operator out there, cannot read the selector and gives up."""
    assert counted(quota({"pods": "5"}, scopes=["PriorityClass"]), pod(priorityClassName="high")) == {
        "pods": "0"
    }


def test_a_status_that_says_so_already_is_not_written() -> None:
    present = {"hard": {"requests.cpu": "1"}, "used": {"requests.cpu": "1000m"}}
    same = amounts.read({"requests.cpu": "1"})
    assert usage.status(quota({"requests.cpu": "1"}, present), same) is None
    assert usage.status(quota({"requests.cpu": "2"}, present), same) == {
        "hard": {"requests.cpu": "2"},
        "used": {"requests.cpu": "1"},
    }


def test_what_nobody_counts_stays_and_what_is_not_limited_any_more_goes() -> None:
    present = {"hard": {"pods": "1", "a/b": "2"}, "used": {"pods": "1", "a/b": "7"}}
    assert usage.status(quota({"a/b": "2"}, present), {}) == {"hard": {"a/b": "2"}, "used": {"a/b": "7"}}
