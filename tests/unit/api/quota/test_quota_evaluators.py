"""What objects cost (pkg/quota/v1/evaluator/core, https://kubernetes.io/docs/concepts/policy/resource-quotas/)."""

from __future__ import annotations

import pytest

from pilothouse.api import amounts
from pilothouse.api.quota.registry import evaluator
from pilothouse.api.types import Obj
from tests.admission import container, pod

PODS = evaluator("", "pods")
SERVICES = evaluator("", "services")
CLAIMS = evaluator("", "persistentvolumeclaims")


def cost(of: object, obj: Obj, now_s: float = 0.0) -> dict[str, str]:
    return amounts.texts(of.usage(obj, now_s))  # type: ignore[attr-defined]


def test_a_pod_costs_requests_limits_and_itself() -> None:
    one = container("a", {"cpu": "100m", "memory": "1Gi", "example.com/gpu": "2"}, {"cpu": "1"})
    two = container("b", {"cpu": "200m", "hugepages-2Mi": "4Mi"}, {"memory": "2Gi"})
    assert cost(PODS, pod(containers=[one, two])) == {
        "count/pods": "1",
        "pods": "1",
        "cpu": "300m",
        "requests.cpu": "300m",
        "limits.cpu": "1",
        "memory": "1Gi",
        "requests.memory": "1Gi",
        "limits.memory": "2Gi",
        "hugepages-2Mi": "4Mi",
        "requests.hugepages-2Mi": "4Mi",
        "requests.example.com/gpu": "2",
    }


def test_the_hungriest_init_step_counts_with_its_sidecars_and_overhead_comes_on_top() -> None:
    spec = pod(
        containers=[container("main", {"cpu": "100m"})],
        initContainers=[
            container("sidecar", {"cpu": "50m"}, restartPolicy="Always"),
            container("step", {"cpu": "1"}),
        ],
        overhead={"cpu": "10m", "memory": "5Mi"},
    )
    assert cost(PODS, spec)["requests.cpu"] == "1060m"
    assert cost(PODS, spec)["requests.memory"] == "5Mi"


def test_what_stands_at_the_pods_level_goes_first() -> None:
    """KEP-2837."""
    leveled = pod(containers=[container("c", {"cpu": "100m"})], resources={"requests": {"cpu": "2"}})
    assert cost(PODS, leveled)["requests.cpu"] == "2"
    assert PODS.missing(["requests.memory"], leveled) == ""


def test_a_resize_in_the_works_costs_the_most_of_wanted_and_allocated() -> None:
    """component-helpers resource.PodRequests with UseStatusResources."""
    shrinking = pod(containers=[container("c", {"cpu": "1"})])
    status = {"name": "c", "resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "2"}}
    shrinking["status"] = {"containerStatuses": [status]}
    assert cost(PODS, shrinking)["requests.cpu"] == "2"
    growing = pod(containers=[container("c", {"cpu": "64"})])
    growing["status"] = {
        "containerStatuses": [status],
        "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}],
    }
    assert cost(PODS, growing)["requests.cpu"] == "2"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_is_an_object_and_nothing_more(phase: str) -> None:
    done = pod(containers=[container("c", {"cpu": "1"})])
    done["status"] = {"phase": phase}
    assert cost(PODS, done) == {"count/pods": "1"}
    assert PODS.replenishes(pod(), done, 0.0)


def test_a_pod_that_outlives_its_grace_is_not_charged_any_more() -> None:
    stuck = pod()
    stuck["metadata"].update(deletionTimestamp="1970-01-01T00:01:00Z", deletionGracePeriodSeconds=30)
    assert "pods" in cost(PODS, stuck, now_s=90.0)
    assert cost(PODS, stuck, now_s=91.0) == {"count/pods": "1"}


def test_every_container_must_say_cpu_and_memory_under_a_quota_of_them() -> None:
    silent = pod(
        containers=[container("b", {"cpu": "1"}), container("a")],
        initContainers=[container("i", {"cpu": "1"})],
    )
    missing = PODS.missing(["requests.cpu", "limits.memory", "requests.ephemeral-storage", "pods"], silent)
    assert missing == "must specify limits.memory for: a,b,i; requests.cpu for: a"


@pytest.mark.parametrize(
    ("scope", "spec", "inside"),
    [
        ({"scopeName": "Terminating"}, {"activeDeadlineSeconds": 0}, True),
        ({"scopeName": "NotTerminating"}, {"activeDeadlineSeconds": 5}, False),
        ({"scopeName": "BestEffort"}, {}, True),
        ({"scopeName": "NotBestEffort"}, {"containers": [container("c", {"cpu": "1"})]}, True),
        ({"scopeName": "PriorityClass", "operator": "Exists"}, {}, False),
        ({"scopeName": "PriorityClass", "operator": "DoesNotExist"}, {}, True),
        (
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
            {"priorityClassName": "high"},
            True,
        ),
        (
            {"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]},
            {"priorityClassName": "high"},
            False,
        ),
        (
            {"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"},
            {
                "affinity": {
                    "podAntiAffinity": {
                        "preferredDuringSchedulingIgnoredDuringExecution": [
                            {"podAffinityTerm": {"namespaceSelector": {}}}
                        ]
                    }
                }
            },
            True,
        ),
        ({"scopeName": "VolumeAttributesClass", "operator": "Exists"}, {}, False),
    ],
)
def test_scopes_of_pods(scope: Obj, spec: Obj, inside: bool) -> None:
    assert PODS.in_scope(scope, pod(**spec)) is inside


def service(kind: str, ports: int = 2, **spec: object) -> Obj:
    return {
        "metadata": {"name": "s"},
        "spec": {"type": kind, "ports": [{"port": i} for i in range(ports)], **spec},
    }


@pytest.mark.parametrize(
    ("obj", "node_ports", "balancers"),
    [
        (service("ClusterIP"), "0", "0"),
        (service("NodePort"), "2", "0"),
        (service("LoadBalancer"), "2", "1"),
        (service("LoadBalancer", allocateLoadBalancerNodePorts=False), "0", "1"),
    ],
)
def test_services_cost_node_ports_and_balancers(obj: Obj, node_ports: str, balancers: str) -> None:
    found = cost(SERVICES, obj)
    assert (found["services"], found["count/services"]) == ("1", "1")
    assert (found["services.nodeports"], found["services.loadbalancers"]) == (node_ports, balancers)


def claim(storage: str = "1Gi", **spec: object) -> Obj:
    return {
        "metadata": {"name": "c"},
        "spec": {"resources": {"requests": {"storage": storage}}, **spec},
        "status": {},
    }


def test_claims_cost_storage_in_all_and_by_class() -> None:
    assert cost(CLAIMS, claim(storageClassName="gold")) == {
        "count/persistentvolumeclaims": "1",
        "persistentvolumeclaims": "1",
        "requests.storage": "1Gi",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
    }
    growing = claim()
    growing["status"] = {"allocatedResources": {"storage": "2Gi"}}
    assert cost(CLAIMS, growing)["requests.storage"] == "2Gi"
    assert cost(CLAIMS, claim("100m"))["requests.storage"] == "1"
    assert CLAIMS.matching(["gold.storageclass.storage.k8s.io/requests.storage", "pods"]) == [
        "gold.storageclass.storage.k8s.io/requests.storage"
    ]


def test_claims_fall_under_the_attributes_class_they_have_or_want() -> None:
    scope = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]}
    changing = claim(volumeAttributesClassName="slow")
    assert not CLAIMS.in_scope(scope, changing)
    changing["status"] = {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "fast"}}
    assert CLAIMS.in_scope(scope, changing)


def test_device_claims_cost_the_worst_of_their_alternatives() -> None:
    claims = evaluator("resource.k8s.io", "resourceclaims")
    exactly = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}
    every = {"deviceClassName": "nic", "allocationMode": "All"}
    first = [
        {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": n, "name": str(n)} for n in (1, 3)
    ]
    devices = {"requests": [{"exactly": exactly}, {"exactly": every}, {"firstAvailable": first}]}
    assert cost(claims, {"metadata": {}, "spec": {"devices": devices}}) == {
        "count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "5",
        "nic.deviceclass.resource.k8s.io/devices": "32",
    }


def test_anything_can_be_counted_under_its_group() -> None:
    widgets = evaluator("example.com", "widgets")
    assert widgets.matching(["count/widgets.example.com", "count/widgets", "pods"]) == [
        "count/widgets.example.com"
    ]
    assert cost(evaluator("", "secrets"), {"metadata": {}}) == {"count/secrets": "1", "secrets": "1"}
    assert widgets.handles("CREATE", "", {}, None)
    assert not widgets.handles("CREATE", "status", {}, None)
    assert not widgets.handles("UPDATE", "", {}, {})
