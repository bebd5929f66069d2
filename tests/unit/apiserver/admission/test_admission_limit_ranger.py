"""LimitRanger (plugin/pkg/admission/limitranger, https://kubernetes.io/docs/concepts/policy/limit-range/)."""

from __future__ import annotations

import pytest

from pilothouse.api.resources import LIMIT_RANGES, PERSISTENT_VOLUME_CLAIMS
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.limit_ranger import LimitRanger
from tests.admission import Bench, attributes, container, pod, refusal


def plugin(*limits: Obj) -> LimitRanger:
    bench = Bench()
    bench.store(
        LIMIT_RANGES, {"metadata": {"name": "l", "namespace": "ns"}, "spec": {"limits": list(limits)}}
    )
    return LimitRanger(bench.env())


DEFAULTS = {
    "type": "Container",
    "default": {"cpu": "500m", "memory": "256Mi"},
    "defaultRequest": {"cpu": "100m", "memory": "256Mi"},
}


async def test_containers_get_what_they_leave_open_and_the_pod_says_so() -> None:
    made = pod(containers=[container("c")], initContainers=[container("i", {"cpu": "1"}, {"cpu": "1"})])
    await plugin(DEFAULTS).admit(attributes("CREATE", made))
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "256Mi"},
    }
    assert made["spec"]["initContainers"][0]["resources"] == {
        "requests": {"cpu": "1", "memory": "256Mi"},
        "limits": {"cpu": "1", "memory": "256Mi"},
    }
    assert made["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": (
            "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c; "
            "memory request for init container i; memory limit for init container i"
        )
    }


async def test_a_pod_that_leaves_nothing_open_is_not_annotated() -> None:
    full = {"cpu": "1", "memory": "1"}
    made = pod(containers=[container("c", full, full)])
    await plugin(DEFAULTS).admit(attributes("CREATE", made))
    assert "annotations" not in made["metadata"]


@pytest.mark.parametrize(
    ("limit", "requests", "limits", "text"),
    [
        (
            {"type": "Container", "max": {"cpu": "1"}},
            {},
            {"cpu": "2"},
            "maximum cpu usage per Container is 1, but limit is 2",
        ),
        (
            {"type": "Container", "max": {"cpu": "1"}},
            {"cpu": "1"},
            {},
            "maximum cpu usage per Container is 1.  No limit is specified",
        ),
        (
            {"type": "Container", "min": {"cpu": "50m"}},
            {"cpu": "10m"},
            {"cpu": "1"},
            "minimum cpu usage per Container is 50m, but request is 10m",
        ),
        (
            {"type": "Container", "min": {"cpu": "50m"}},
            {},
            {},
            "minimum cpu usage per Container is 50m.  No request is specified",
        ),
        (
            {"type": "Container", "maxLimitRequestRatio": {"cpu": "5"}},
            {"cpu": "100m"},
            {"cpu": "900m"},
            "cpu max limit to request ratio per Container is 5, but provided ratio is 9.000000",
        ),
        (
            {"type": "Container", "maxLimitRequestRatio": {"cpu": "5"}},
            {},
            {"cpu": "900m"},
            "cpu max limit to request ratio per Container is 5, but no request is specified or request is 0",
        ),
        (
            {"type": "Pod", "max": {"memory": "1Gi"}},
            {},
            {"memory": "2Gi"},
            "maximum memory usage per Pod is 1Gi, but limit is 2Gi",
        ),
        (
            {"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}},
            {},
            {"cpu": "2", "memory": "2Gi"},
            "[maximum cpu usage per Container is 1, but limit is 2, "
            "maximum memory usage per Container is 1Gi, but limit is 2Gi]",
        ),
    ],
)
async def test_what_is_outside_the_limits_is_refused(
    limit: Obj, requests: Obj, limits: Obj, text: str
) -> None:
    made = pod("x", containers=[container("c", requests, limits)])
    work = plugin(limit).validate(attributes("CREATE", made))
    assert await refusal(work) == f'pods "x" is forbidden: {text}'


async def test_two_containers_with_the_same_fault_are_told_once() -> None:
    """utilerrors.Aggregate drops repeats."""
    made = pod(containers=[container("a", {}, {"cpu": "2"}), container("b", {}, {"cpu": "2"})])
    work = plugin({"type": "Container", "max": {"cpu": "1"}}).validate(attributes("CREATE", made))
    assert (await refusal(work)).count("maximum cpu usage") == 1


async def test_a_pod_counts_as_a_whole_and_its_own_level_goes_first() -> None:
    """KEP-2837: what stands at the pod's level replaces the sum of its containers."""
    limit = {"type": "Pod", "max": {"cpu": "3"}}
    two = [container(name, {"cpu": "2"}, {"cpu": "2"}) for name in ("a", "b")]
    work = plugin(limit).validate(attributes("CREATE", pod(containers=two)))
    assert "maximum cpu usage per Pod is 3, but limit is 4" in await refusal(work)
    leveled = pod(containers=two, resources={"limits": {"cpu": "3"}, "requests": {"cpu": "3"}})
    await plugin(limit).validate(attributes("CREATE", leveled))


async def test_pods_are_looked_at_when_made_and_when_resized_not_otherwise() -> None:
    ranger = plugin({"type": "Container", "max": {"cpu": "1"}})
    big, small = pod(containers=[container("c", {}, {"cpu": "2"})]), pod()
    await ranger.validate(attributes("UPDATE", big, small))
    assert "maximum cpu" in await refusal(
        ranger.validate(attributes("UPDATE", big, small, subresource="resize"))
    )
    going = {**small, "metadata": {**small["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    await ranger.validate(attributes("UPDATE", big, going, subresource="resize"))


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ("6Gi", "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi"),
        ("1Mi", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"),
    ],
)
async def test_claims_are_held_to_their_requests(storage: str, text: str) -> None:
    claim = {
        "metadata": {"name": "c", "namespace": "ns"},
        "spec": {"resources": {"requests": {"storage": storage}}},
    }
    ranger = plugin({"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}, "min": {"storage": "1Gi"}})
    work = ranger.validate(attributes("CREATE", claim, resource=PERSISTENT_VOLUME_CLAIMS))
    assert await refusal(work) == f'persistentvolumeclaims "c" is forbidden: {text}'
