"""Writes to roles and bindings by those who may not do everything
(https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, Resource
from pilothouse.apiserver.authz.escalation import Escalation, Permission, Writer, broken_down, covers
from pilothouse.apiserver.authz.rbac import Rbac
from pilothouse.apiserver.request import UserInfo

ALICE = UserInfo("alice", groups=("dev", "system:authenticated"))
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


class Roles:
    """A lister over plain objects."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}

    def add(self, resource: Resource, name: str, namespace: str = "", **obj: Any) -> None:
        meta = {"name": name, **({"namespace": namespace} if namespace else {})}
        self.objects[(resource.plural, namespace, name)] = {"metadata": meta, **obj}

    def grant(self, role: Resource, name: str, *rules: dict[str, Any], namespace: str = "") -> None:
        """Make a role and bind it to alice."""
        self.add(role, name, namespace if role.namespaced else "", rules=list(rules))
        bindings = ROLE_BINDINGS if namespace else CLUSTER_ROLE_BINDINGS
        ref = {"kind": role.kind, "name": name}
        self.add(bindings, name, namespace, roleRef=ref, subjects=[{"kind": "User", "name": "alice"}])

    def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any] | None:
        return self.objects.get((resource.plural, namespace, name))

    def list(self, resource: Resource, namespace: str = "") -> Iterator[dict[str, Any]]:
        return (
            o for (plural, n, _), o in self.objects.items() if (plural, n) == (resource.plural, namespace)
        )

    def revision(self, resource: Resource) -> int:
        return len(self.objects)


@pytest.fixture
def roles() -> Roles:
    return Roles()


@pytest.fixture
def escalation(roles: Roles) -> Escalation:
    rbac = Rbac(roles)  # type: ignore[arg-type]
    return Escalation(rbac, rbac.authorize)


def refusal(check: Any, *args: Any, **named: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        check(*args, **named)
    return caught.value


def role_writer(user: UserInfo = ALICE, resource: Resource = ROLES, namespace: str = "one") -> Writer:
    return Writer(user, resource, namespace, "more")


def test_what_one_has_one_may_give(roles: Roles, escalation: Escalation) -> None:
    roles.grant(ROLES, "reader", PODS, namespace="one")
    escalation.check_role(role_writer(), [{**PODS, "resourceNames": ["web"]}, {**PODS, "verbs": ["get"]}])


def test_a_refusal_lists_what_is_missing_with_its_verbs_together(
    roles: Roles, escalation: Escalation
) -> None:
    roles.grant(ROLES, "reader", PODS, namespace="one")
    wanted = [
        {"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get", "delete", "watch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["a"]},
        {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
    ]
    error = refusal(escalation.check_role, role_writer(), wanted)
    assert (error.code, error.reason) == (403, "Forbidden")
    assert error.message == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "alice" (groups=["dev" "system:authenticated"]) '
        "is attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}\n'
        '{APIGroups:[""], Resources:["secrets"], ResourceNames:["a"], Verbs:["get"]}\n'
        '{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "delete" "watch"]}\n'
        '{NonResourceURLs:["/metrics"], Verbs:["get"]}'
    )


def test_grants_of_another_namespace_do_not_count(roles: Roles, escalation: Escalation) -> None:
    roles.grant(ROLES, "reader", PODS, namespace="two")
    assert refusal(escalation.check_role, role_writer(), [PODS]).code == 403


def test_a_role_that_is_bound_and_missing_is_told(roles: Roles, escalation: Escalation) -> None:
    roles.grant(CLUSTER_ROLES, "gone")
    del roles.objects[("clusterroles", "", "gone")]
    message = refusal(escalation.check_role, role_writer(), [PODS]).message
    assert message.endswith('; resolution errors: [clusterrole.rbac.authorization.k8s.io "gone" not found]')


def test_masters_and_those_who_may_escalate_give_anything(roles: Roles, escalation: Escalation) -> None:
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    escalation.check_role(role_writer(UserInfo("root", groups=("system:masters",))), everything)
    rule = {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["roles"],
        "verbs": ["escalate"],
        "resourceNames": ["more"],
    }
    roles.grant(CLUSTER_ROLES, "escalator", rule)
    escalation.check_role(role_writer(), everything)
    assert refusal(escalation.check_role, Writer(ALICE, ROLES, "one", "other"), everything).code == 403


def test_to_gather_rules_one_needs_all(roles: Roles, escalation: Escalation) -> None:
    writer = role_writer(resource=CLUSTER_ROLES, namespace="")
    message = refusal(escalation.check_role, writer, [], aggregates=True).message
    assert message.endswith("must have cluster-admin privileges to use the aggregationRule")
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    roles.grant(CLUSTER_ROLES, "admin", everything, {"nonResourceURLs": ["*"], "verbs": ["*"]})
    escalation.check_role(writer, [], aggregates=True)


def test_a_binding_needs_what_its_role_has_or_the_right_to_bind_it(
    roles: Roles, escalation: Escalation
) -> None:
    roles.add(CLUSTER_ROLES, "reader", rules=[PODS])
    writer = Writer(ALICE, ROLE_BINDINGS, "one", "b")
    ref = {"kind": "ClusterRole", "name": "reader"}
    assert 'rolebindings.rbac.authorization.k8s.io "b" is forbidden' in (
        refusal(escalation.check_binding, writer, ref).message
    )
    rule = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["bind"]}
    roles.grant(ROLES, "binder", rule, namespace="one")
    escalation.check_binding(writer, ref)
    everywhere = Writer(ALICE, CLUSTER_ROLE_BINDINGS, "", "b")
    assert refusal(escalation.check_binding, everywhere, ref).code == 403


def test_a_binding_to_no_role_is_not_found(escalation: Escalation) -> None:
    error = refusal(
        escalation.check_binding, Writer(ALICE, ROLE_BINDINGS, "one", "b"), {"kind": "Role", "name": "none"}
    )
    assert (error.code, error.message) == (404, 'roles.rbac.authorization.k8s.io "none" not found')


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, Permission("get", "apps", "x/y"), True),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["*"]}, Permission("*", "", "pods"), False),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["*/log"]},
            Permission("get", "", "pods/log"),
            True,
        ),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            Permission("get", "", "pods/log"),
            False,
        ),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]},
            Permission("get", "", "pods"),
            False,
        ),
        ({"verbs": ["get"], "nonResourceURLs": ["/a/*"]}, Permission("get", url="/a/b"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["/a"]}, Permission("get", url="/a/b"), False),
        ({"verbs": ["get"], "nonResourceURLs": ["*"]}, Permission("get", "", "pods"), False),
    ],
)
def test_covering(held: dict[str, Any], wanted: Permission, expected: bool) -> None:
    assert covers(held, wanted) is expected


def test_breaking_down() -> None:
    rule = {"apiGroups": ["a"], "resources": ["b", "c"], "verbs": ["d"], "resourceNames": ["e"]}
    assert list(broken_down(rule)) == [Permission("d", "a", "b", "e"), Permission("d", "a", "c", "e")]
