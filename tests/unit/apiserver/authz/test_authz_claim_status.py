"""Who may write what into a claim's status (KEP-4817, pkg/registry/resource/utils.go)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.apiserver.request import UserInfo
from tests.served import ALICE, Answer, Api, api

RBAC = "/apis/rbac.authorization.k8s.io/v1"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
DRIVER = "gpu.example.com"
NODE_NAME = "authentication.kubernetes.io/node-name"
DEVICE = {"driver": DRIVER, "pool": "p", "device": "d"}


def on(node: str) -> UserInfo:
    groups = ("system:serviceaccounts", "system:authenticated", "dev")
    return UserInfo("system:serviceaccount:kube-system:driver", "", groups, {NODE_NAME: (node,)})


@pytest.fixture
def server() -> Iterator[Api]:
    with api() as made:
        spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}
        assert made.ask("POST", CLAIMS, {"metadata": {"name": "c"}, "spec": spec}).status == 201
        grant(made, "status", "get,update,patch", "resourceclaims/status")
        yield made


def grant(server: Api, name: str, verbs: str, resource: str, **more: Any) -> None:
    """To the group dev."""
    rule = {"verbs": verbs.split(","), "apiGroups": ["resource.k8s.io"], "resources": [resource], **more}
    role = {"metadata": {"name": name}, "rules": [rule]}
    assert server.ask("POST", f"{RBAC}/clusterroles", role).status == 201
    bound = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "Group", "name": "dev", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    assert server.ask("POST", f"{RBAC}/clusterrolebindings", bound).status == 201


def status(server: Api, user: UserInfo, **fields: Any) -> Answer:
    path, kind = f"{CLAIMS}/c/status", "application/merge-patch+json"
    return server.ask("PATCH", path, {"status": fields}, user=user, content_type=kind)


def allocated(server: Api, node: str = "n") -> None:
    only = {"key": "metadata.name", "operator": "In", "values": [node]}
    found = {
        "devices": {"results": [{"request": "r", **DEVICE}]},
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [only]}]},
    }
    path, kind = f"{CLAIMS}/c/status", "application/merge-patch+json"
    assert server.ask("PATCH", path, {"status": {"allocation": found}}, content_type=kind).status == 200


def test_binding_is_for_those_who_bind(server: Api) -> None:
    allocated(server)
    user = {"resource": "pods", "name": "p", "uid": "u"}
    refused = status(server, ALICE, reservedFor=[user])
    assert refused.status == 422
    assert refused.message == (
        'ResourceClaim.resource.k8s.io "c" is invalid: status: Forbidden: changing status.allocation or '
        'status.reservedFor requires resource="resourceclaims/binding", verb="patch" permission: '
        'resourceclaims.resource.k8s.io is forbidden: User "alice" cannot patch resource "resourceclaims/binding" in '
        'API group "resource.k8s.io" at the cluster scope'
    )
    grant(server, "binding", "patch", "resourceclaims/binding")
    assert status(server, ALICE, reservedFor=[user]).status == 200


def test_drivers_tell_of_their_own_devices_on_their_own_node(server: Api) -> None:
    allocated(server)
    grant(server, "driver", "associated-node:patch", "resourceclaims/driver", resourceNames=[DRIVER])
    refused = status(server, on("elsewhere"), devices=[DEVICE])
    assert refused.status == 422
    assert refused.message == (
        'ResourceClaim.resource.k8s.io "c" is invalid: status.devices: Forbidden: changing status.devices requires '
        'resource="resourceclaims/driver", verb="[arbitrary-node:patch]" permission: resourceclaims.resource.k8s.io '
        '"gpu.example.com" is forbidden: User "system:serviceaccount:kube-system:driver" cannot arbitrary-node:patch '
        'resource "resourceclaims/driver" in API group "resource.k8s.io" in the namespace "default"'
    )
    assert status(server, on("n"), devices=[DEVICE]).status == 200
    assert status(server, ALICE, devices=None).status == 422
    grant(server, "any", "arbitrary-node:patch", "resourceclaims/driver")
    assert status(server, ALICE, devices=None).status == 200
