"""Controllers with one rule each: aggregated roles, protection of claims, empty endpoint slices."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import (
    CLUSTER_ROLES,
    ENDPOINT_SLICES,
    ENDPOINTS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_QUOTAS,
    SERVICES,
)
from pilothouse.api.types import Obj
from pilothouse.controllers import endpoint_slice_mirroring as mirroring
from pilothouse.controllers.clusterrole_aggregation import aggregate


def role(name: str, *verbs: str, labels: dict[str, str] | None = None) -> Obj:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]} for verb in verbs]
    return {"metadata": {"name": name, "labels": labels or {}}, "rules": rules}


def verbs(found: Obj) -> list[str]:
    return [verb for rule in found.get("rules") or () for verb in rule["verbs"]]


def test_aggregated_roles_follow_their_parts(simulate: Any) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles"""

    async def scenario(lab: Any) -> None:
        selector = {"matchLabels": {"to-monitoring": "true"}}
        rule = {"clusterRoleSelectors": [selector]}
        await lab.create(CLUSTER_ROLES, {"metadata": {"name": "monitoring"}, "aggregationRule": rule})
        await lab.create(CLUSTER_ROLES, role("b", "list", labels={"to-monitoring": "true"}))
        await lab.create(CLUSTER_ROLES, role("a", "get", labels={"to-monitoring": "true"}))
        await lab.wait(2)
        assert verbs(await lab.get(CLUSTER_ROLES, "monitoring")) == ["get", "list"]
        await lab.delete(CLUSTER_ROLES, "a")
        await lab.wait(2)
        assert verbs(await lab.get(CLUSTER_ROLES, "monitoring")) == ["list"]

    simulate(scenario)


def test_a_rule_comes_once_and_the_role_itself_not_at_all() -> None:
    selector = {"matchLabels": {"x": "y"}}
    own = {**role("a", "delete", labels={"x": "y"}), "aggregationRule": {"clusterRoleSelectors": [selector]}}
    parts = [own, role("c", "get", "list", labels={"x": "y"}), role("b", "list", labels={"x": "y"})]
    assert verbs({"rules": aggregate(own, parts)}) == ["list", "get"]


def test_a_claim_in_use_goes_with_its_last_pod(simulate: Any) -> None:
    """Storage Object in Use Protection."""

    async def scenario(lab: Any) -> None:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await lab.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c"}, "spec": spec})
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}
        container = {"name": "c", "image": "registry.k8s.io/pause:3.10"}
        pod_spec = {"containers": [container], "volumes": [volume], "nodeName": "node-0"}
        await lab.create(PODS, {"metadata": {"name": "p"}, "spec": pod_spec})
        await lab.wait(5)
        await lab.delete(PERSISTENT_VOLUME_CLAIMS, "c")
        await lab.wait(30)
        assert await lab.names(PERSISTENT_VOLUME_CLAIMS) == ["c"]
        await lab.delete(PODS, "p")
        await lab.wait(60)
        assert await lab.names(PERSISTENT_VOLUME_CLAIMS) == []

    simulate(scenario)


def test_a_claim_that_nobody_uses_goes_at_once(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await lab.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c"}, "spec": spec})
        await lab.delete(PERSISTENT_VOLUME_CLAIMS, "c")
        await lab.wait(2)
        assert await lab.names(PERSISTENT_VOLUME_CLAIMS) == []

    simulate(scenario)


def test_a_slice_without_endpoints_has_no_ports(simulate: Any) -> None:
    """Upstream's controllers speak protobuf, which knows no empty list: it becomes null."""

    async def scenario(lab: Any) -> None:
        spec = {"selector": {"app": "nobody"}, "ports": [{"port": 80}]}
        await lab.create(SERVICES, {"metadata": {"name": "s"}, "spec": spec})
        await lab.wait(2)
        (found,) = await lab.list(ENDPOINT_SLICES, "kubernetes.io/service-name=s")
        assert found["ports"] is None
        assert not found["endpoints"]

    simulate(scenario)


def test_endpoints_of_a_service_without_a_selector_are_mirrored(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(
            SERVICES, {"metadata": {"name": "db"}, "spec": {"ports": [{"name": "sql", "port": 5432}]}}
        )
        subset = {
            "addresses": [{"ip": "192.0.2.7"}],
            "notReadyAddresses": [{"ip": "192.0.2.8", "hostname": "b"}],
            "ports": [{"name": "sql", "port": 5432}],
        }
        made = {"metadata": {"name": "db", "labels": {"team": "x"}}, "subsets": [subset]}
        await lab.create(ENDPOINTS, made)
        await lab.wait(2)
        (found,) = await lab.list(ENDPOINT_SLICES, "kubernetes.io/service-name=db")
        assert found["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == mirroring.CONTROLLER
        assert found["metadata"]["labels"]["team"] == "x"
        assert found["ports"] == [{"name": "sql", "protocol": "TCP", "port": 5432}]
        assert found["endpoints"] == [
            {"addresses": ["192.0.2.7"], "conditions": {"ready": True}},
            {"addresses": ["192.0.2.8"], "conditions": {"ready": False}, "hostname": "b"},
        ]
        subset["addresses"] = [{"ip": "192.0.2.9"}]
        await lab.patch(ENDPOINTS, "db", {"subsets": [subset]})
        await lab.wait(2)
        (later,) = await lab.list(ENDPOINT_SLICES, "kubernetes.io/service-name=db")
        assert later["metadata"]["name"] == found["metadata"]["name"]
        assert later["endpoints"][0]["addresses"] == ["192.0.2.9"]
        await lab.delete(ENDPOINTS, "db")
        await lab.wait(2)
        assert await lab.list(ENDPOINT_SLICES, "kubernetes.io/service-name=db") == []

    simulate(scenario)


def test_what_a_quota_refuses_is_mirrored_later(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        count = "count/endpointslices.discovery.k8s.io"
        await lab.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {count: "1"}}})
        await lab.wait(5)
        ports = [{"name": "sql", "port": 5432}]
        await lab.create(SERVICES, {"metadata": {"name": "db"}, "spec": {"ports": ports}})
        subset = {"addresses": [{"ip": "192.0.2.7"}], "ports": ports}
        await lab.create(ENDPOINTS, {"metadata": {"name": "db"}, "subsets": [subset]})
        await lab.wait(10)
        assert await lab.list(ENDPOINT_SLICES, "kubernetes.io/service-name=db") == []
        await lab.patch(RESOURCE_QUOTAS, "q", {"spec": {"hard": {count: "9"}}})
        await lab.wait(60)
        assert len(await lab.list(ENDPOINT_SLICES, "kubernetes.io/service-name=db")) == 1

    simulate(scenario)


def test_a_subset_is_mirrored_up_to_the_limit() -> None:
    addresses = [{"ip": f"192.0.2.{n}"} for n in range(1, 6)]
    found, skipped = mirroring.slices({"subsets": [{"addresses": addresses}]}, 3)
    assert skipped == 2
    assert [len(entries) for entries in found.values()] == [3]


def test_endpoints_that_ask_for_it_are_not_mirrored() -> None:
    service: Obj = {"spec": {}}
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    assert mirroring.is_mirrored({"metadata": {}}, service)
    assert not mirroring.is_mirrored({"metadata": {"labels": labels}}, service)
    assert not mirroring.is_mirrored({"metadata": {}}, {"spec": {"selector": {"app": "x"}}})
