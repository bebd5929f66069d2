"""No body makes the server fail: whatever stands where, the answer is a Status that says what is wrong."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.served import Api, api

SEEDS = range(6)
ROUNDS = 60
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
APPLY, PATCH = "application/apply-patch+yaml", "application/json-patch+json"

_TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {
        "containers": [
            {
                "name": "a",
                "image": "a",
                "ports": [{"containerPort": 80, "name": "p"}],
                "resources": {"limits": {"cpu": "1"}},
                "env": [{"name": "A", "value": "1"}],
            }
        ]
    },
}
BODIES: dict[str, dict[str, Any]] = {
    "/api/v1/namespaces/default/configmaps": {"metadata": {"name": "x", "labels": {"a": "b"}}, "data": {"a": "b"}},
    "/api/v1/namespaces/default/secrets": {"metadata": {"name": "x"}, "data": {"a": "eA=="}, "type": "Opaque"},
    "/api/v1/namespaces/default/pods": {"metadata": {"name": "x"}, "spec": _TEMPLATE["spec"]},
    "/api/v1/namespaces/default/services": {
        "metadata": {"name": "x"},
        "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80, "name": "p", "nodePort": 30080}]},
    },
    "/api/v1/nodes": {"metadata": {"name": "x"}, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
    "/apis/apps/v1/namespaces/default/deployments": {
        "metadata": {"name": "x", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "a"}]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": _TEMPLATE},
    },
    "/apis/rbac.authorization.k8s.io/v1/clusterroles": {
        "metadata": {"name": "x"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    },
    "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings": {
        "metadata": {"name": "x"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "a", "apiGroup": "rbac.authorization.k8s.io"}],
    },
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": {
        "metadata": {"name": "xs.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "xs", "kind": "X"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-validations": [
                    {"rule": "true", "message": "a"}]}}}}}],
        },
    },
    "/api/v1/namespaces/default/serviceaccounts/default/token": {"spec": {"audiences": ["a"]}},
    "/apis/authorization.k8s.io/v1/subjectaccessreviews": {
        "spec": {"user": "a", "groups": ["b"], "resourceAttributes": {"verb": "get", "resource": "pods"}},
    },
    "/apis/authentication.k8s.io/v1/tokenreviews": {"spec": {"token": "a"}},
}  # fmt: skip
ODD: tuple[Any, ...] = (
    None, "", 0, -1, 1.5, True, [], {}, [None], [{}], [[]], {"a": None}, {"": {}}, "x" * 300, "\0", 10**30, "..", "1Gi",
    {"$patch": "delete"}, {"$patch": 5},
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Api]:
    with api(disable_admission=("ServiceAccount",)) as made:  # which waits for an account to appear
        made.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        yield made


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if here:
        yield here
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield from places(child, (*here, key))


def changed(value: Any, chance: random.Random) -> Any:
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2))):
        *way, last = chance.choice(list(places(value)))
        parent = value
        for key in way:
            parent = parent[key]
        if chance.random() < 0.8:
            parent[last] = copy.deepcopy(chance.choice(ODD))
        else:
            del parent[last]
        if not value:
            break
    return value


@pytest.mark.parametrize("seed", SEEDS)
def test_odd_bodies(server: Api, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        path, good = chance.choice(list(BODIES.items()))
        body = (
            changed({"kind": "", "apiVersion": "", **good}, chance)
            if chance.random() < 0.3
            else changed(good, chance)
        )
        named = f"{path}/{(good.get('metadata') or {}).get('name', 'x')}"
        pointer = "/" + "/".join(map(str, chance.choice(list(places(good)))))
        operation = {
            "op": chance.choice(("add", "replace", "test")),
            "path": pointer,
            "value": chance.choice(ODD),
        }
        asked = [
            ("POST", path, body, "application/json"),
            ("POST", path, body, "application/yaml"),
            ("PUT", named, body, "application/json"),
            ("PATCH", named, body, MERGE),
            ("PATCH", named, body, STRATEGIC),
            ("PATCH", f"{named}?fieldManager=a&force=true", body, APPLY),
            ("PATCH", named, [operation], PATCH),
            ("DELETE", named, chance.choice((None, {"propagationPolicy": "Background", "gracePeriodSeconds": 0}, body)),
             "application/json"),
        ]  # fmt: skip
        for method, where, sent, content_type in asked:
            answer = server.ask(method, where, sent, content_type=content_type)
            failed = answer.status == 500 and "an unexpected error" in str(answer.body)
            assert not failed, f"{method} {where} {content_type}: {sent}"
