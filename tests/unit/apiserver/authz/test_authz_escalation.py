"""Nobody grants what he does not have (pkg/registry/rbac/*/policybased)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.apiserver.authz import coverage
from tests.served import ALICE, Answer, Api, api

RBAC = "/apis/rbac.authorization.k8s.io/v1"
LACKING = (
    'user "alice" (groups=["dev" "system:authenticated"]) is attempting to grant RBAC permissions not currently '
    "held:\n"
)
NAMES = iter(f"n{n}" for n in range(1000))


def rule(verbs: str, resources: str = "", group: str = "", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"verbs": verbs.split(","), **more}
    if resources:
        found |= {"apiGroups": [group], "resources": resources.split(",")}
    return found


def cluster_role(name: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "rules": list(rules), **more}


def binding(name: str, role: str, kind: str = "ClusterRole", to: str = "bob") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "User", "name": to, "apiGroup": "rbac.authorization.k8s.io"}],
    }


@pytest.fixture(scope="module")
def server() -> Iterator[Api]:
    with api() as made:
        yield made


@pytest.fixture
def alice(server: Api) -> Iterator[Any]:
    """Alice may write everything of RBAC, and reads pods; `alice(*rules)` gives her more."""
    bound: list[str] = []

    def may(*rules: dict[str, Any]) -> None:
        name = next(NAMES)
        assert server.ask("POST", f"{RBAC}/clusterroles", cluster_role(name, *rules)).status == 201
        assert (
            server.ask("POST", f"{RBAC}/clusterrolebindings", binding(name, name, to="alice")).status == 201
        )
        bound.append(name)

    may(
        rule("create,update,patch,get,delete", "roles,clusterroles,rolebindings,clusterrolebindings",
             "rbac.authorization.k8s.io"),
        rule("get,list", "pods"),
    )  # fmt: skip
    yield may
    for name in bound:
        server.ask("DELETE", f"{RBAC}/clusterrolebindings/{name}")


def write(server: Api, resource: str, obj: dict[str, Any], namespace: str = "") -> Answer:
    path = f"{RBAC}/namespaces/{namespace}/{resource}" if namespace else f"{RBAC}/{resource}"
    return server.ask("POST", path, obj, user=ALICE)


def test_what_one_has_one_may_grant(server: Api, alice: Any) -> None:
    assert write(server, "clusterroles", cluster_role(next(NAMES), rule("get", "pods"))).status == 201
    assert write(server, "roles", cluster_role(next(NAMES), rule("list", "pods")), "default").status == 201


def test_what_one_lacks_is_named(server: Api, alice: Any) -> None:
    wanted = cluster_role(
        "greedy",
        rule("get,delete,watch", "pods,secrets"),
        rule("get", "nodes", resourceNames=["a", "b"]),
        rule("get", nonResourceURLs=["/metrics"]),
    )
    refused = write(server, "clusterroles", wanted)
    assert refused.status == 403
    assert refused.message == (
        'clusterroles.rbac.authorization.k8s.io "greedy" is forbidden: ' + LACKING +
        '{APIGroups:[""], Resources:["nodes"], ResourceNames:["a"], Verbs:["get"]}\n'
        '{APIGroups:[""], Resources:["nodes"], ResourceNames:["b"], Verbs:["get"]}\n'
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete" "watch"]}\n'
        '{NonResourceURLs:["/metrics"], Verbs:["get"]}'
    )  # fmt: skip
    assert refused.body["details"] == {
        "name": "greedy",
        "group": "rbac.authorization.k8s.io",
        "kind": "clusterroles",
    }


def test_no_verb_of_writing_is_a_way_round(server: Api, alice: Any) -> None:
    name = next(NAMES)
    path = f"{RBAC}/clusterroles/{name}"
    assert write(server, "clusterroles", cluster_role(name, rule("get", "pods"))).status == 201
    more = cluster_role(name, rule("*", "*", "*"))
    assert server.ask("PUT", path, more, user=ALICE).status == 403
    patch = [{"op": "add", "path": "/rules/0/verbs/0", "value": "*"}]
    for body, kind in (
        (more, "application/merge-patch+json"),
        (more, "application/strategic-merge-patch+json"),
        (patch, "application/json-patch+json"),
    ):
        assert server.ask("PATCH", path, body, user=ALICE, content_type=kind).status == 403
    applied = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", **more}
    for target in (path, f"{RBAC}/clusterroles/{next(NAMES)}"):
        body = {**applied, "metadata": {"name": target.rsplit("/", 1)[1]}}
        query = "?fieldManager=x&force=true"
        kind = "application/apply-patch+yaml"
        assert server.ask("PATCH", target + query, body, user=ALICE, content_type=kind).status == 403
    created_by_put = cluster_role(next(NAMES), rule("*", "*", "*"))
    new = f"{RBAC}/clusterroles/{created_by_put['metadata']['name']}"
    assert server.ask("PUT", new, created_by_put, user=ALICE).status == 403
    assert server.ask("POST", f"{RBAC}/clusterroles?dryRun=All", created_by_put, user=ALICE).status == 403
    assert server.ask("GET", path).body["rules"] == [rule("get", "pods")]


def test_labels_of_a_role_with_more_are_part_of_it_but_finalizers_are_not(server: Api, alice: Any) -> None:
    name = next(NAMES)
    path = f"{RBAC}/clusterroles/{name}"
    assert (
        server.ask("POST", f"{RBAC}/clusterroles", cluster_role(name, rule("get", "secrets"))).status == 201
    )
    kind = "application/merge-patch+json"
    labelled = {"metadata": {"labels": {"a": "b"}}}
    assert server.ask("PATCH", path, labelled, user=ALICE, content_type=kind).status == 403
    finalized = {"metadata": {"finalizers": ["example.com/x"]}}
    assert server.ask("PATCH", path, finalized, user=ALICE, content_type=kind).status == 200


def test_a_binding_needs_all_that_its_role_grants(server: Api, alice: Any) -> None:
    refused = write(server, "clusterrolebindings", binding("grab", "cluster-admin"))
    assert refused.status == 403
    assert refused.message == (
        'clusterrolebindings.rbac.authorization.k8s.io "grab" is forbidden: ' + LACKING
        + '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}\n{NonResourceURLs:["*"], Verbs:["*"]}'
    )  # fmt: skip
    assert write(server, "rolebindings", binding("grab", "admin"), "default").status == 403
    readable = cluster_role(next(NAMES), rule("list", "pods"))
    assert server.ask("POST", f"{RBAC}/clusterroles", readable).status == 201
    name = readable["metadata"]["name"]
    assert write(server, "clusterrolebindings", binding(next(NAMES), name)).status == 201
    assert write(server, "rolebindings", binding(next(NAMES), name), "default").status == 201


def test_a_binding_to_no_role(server: Api, alice: Any) -> None:
    missing = write(server, "clusterrolebindings", binding("x", "absent"))
    assert (missing.status, missing.message) == (
        404,
        'clusterrole.rbac.authorization.k8s.io "absent" not found',
    )
    missing = write(server, "rolebindings", binding("x", "absent", "Role"), "default")
    assert missing.message == 'role.rbac.authorization.k8s.io "absent" not found'


def test_the_verb_bind_is_enough_for_the_roles_it_names(server: Api, alice: Any) -> None:
    alice(rule("bind", "clusterroles", "rbac.authorization.k8s.io", resourceNames=["view"]))
    assert write(server, "clusterrolebindings", binding(next(NAMES), "view")).status == 201
    assert write(server, "rolebindings", binding(next(NAMES), "view"), "default").status == 201
    assert write(server, "clusterrolebindings", binding(next(NAMES), "edit")).status == 403


def test_the_verb_escalate_is_enough(server: Api, alice: Any) -> None:
    alice(rule("escalate", "clusterroles", "rbac.authorization.k8s.io"))
    assert write(server, "clusterroles", cluster_role(next(NAMES), rule("*", "*", "*"))).status == 201
    assert write(server, "roles", cluster_role(next(NAMES), rule("*", "*", "*")), "default").status == 403


def test_aggregation_needs_everything(server: Api, alice: Any) -> None:
    selector = {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}
    refused = write(server, "clusterroles", cluster_role("agg", aggregationRule=selector))
    assert refused.message == (
        'clusterroles.rbac.authorization.k8s.io "agg" is forbidden: must have cluster-admin privileges to use '
        "the aggregationRule"
    )
    alice(rule("*", "*", "*"), rule("*", nonResourceURLs=["*"]))
    assert write(server, "clusterroles", cluster_role(next(NAMES), aggregationRule=selector)).status == 201


def test_a_subject_named_star_is_somebody_of_that_name(server: Api) -> None:
    name = next(NAMES)
    server.ask("POST", f"{RBAC}/clusterroles", cluster_role(name, rule("get", "nodes")))
    server.ask("POST", f"{RBAC}/clusterrolebindings", binding(name, name, to="*"))
    assert server.ask("GET", "/api/v1/nodes/x", user=ALICE).status == 403


@pytest.mark.parametrize(
    ("held", "wanted", "covered"),
    [
        (rule("*", "pods"), rule("get", "pods"), True),
        (rule("get", "*"), rule("get", "pods/log"), True),
        (rule("get", "*/scale"), rule("get", "deployments/scale"), True),
        (rule("get", "*/scale"), rule("get", "deployments"), False),
        (rule("get", "pods"), rule("get", "pods/log"), False),
        (rule("get", "pods"), rule("get", "*"), False),
        (rule("get", "pods"), rule("get", "pods", "apps"), False),
        (rule("get", "pods", "*"), rule("get", "pods", "apps"), True),
        (rule("get", "pods", resourceNames=["a"]), rule("get", "pods"), False),
        (rule("get", "pods"), rule("get", "pods", resourceNames=["a"]), True),
        (rule("get", "pods", resourceNames=["a", "b"]), rule("get", "pods", resourceNames=["b"]), True),
        (rule("get", nonResourceURLs=["/x/*"]), rule("get", nonResourceURLs=["/x/y"]), True),
        (rule("get", nonResourceURLs=["/x/*"]), rule("get", nonResourceURLs=["/*"]), False),
    ],
)
def test_cover(held: dict[str, Any], wanted: dict[str, Any], covered: bool) -> None:
    assert (not coverage.missing([held], [wanted])) is covered


def test_a_small_body_that_means_billions_is_refused_at_once() -> None:
    many = [str(n) for n in range(5000)]
    with pytest.raises(ApiError, match="too many to be compared"):
        coverage.missing([rule("get", "pods")], [{"verbs": many, "apiGroups": many, "resources": many}])
