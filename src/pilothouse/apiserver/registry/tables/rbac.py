"""Table columns of the bindings in rbac.authorization.k8s.io; roles show name and creation time."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table

GROUP = "rbac.authorization.k8s.io"


def _binding(obj: Obj, now_s: float) -> list[Any]:
    ref = obj["roleRef"]
    users, groups, accounts = _subjects(obj)
    return [
        name(obj),
        f"{ref.get('kind', '')}/{ref.get('name', '')}",
        age(obj, now_s),
        ", ".join(users),
        ", ".join(groups),
        ", ".join(accounts),
    ]


def _subjects(obj: Obj) -> tuple[list[str], list[str], list[str]]:
    """The binding's users, groups and service accounts (rbac.SubjectsStrings)."""
    users: list[str] = []
    groups: list[str] = []
    accounts: list[str] = []
    for subject in obj.get("subjects") or ():
        match subject.get("kind"):
            case "ServiceAccount":
                accounts.append(f"{subject.get('namespace', '')}/{subject.get('name', '')}")
            case "User":
                users.append(subject.get("name", ""))
            case "Group":
                groups.append(subject.get("name", ""))
    return users, groups, accounts


# Upstream describes the role by the types of v1beta1, which is no longer served.
_UNRESOLVED = "If the RoleRef cannot be resolved, the Authorizer must return an error."
_ROLE = f"RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. {_UNRESOLVED}"
_CLUSTER_ROLE = f"RoleRef can only reference a ClusterRole in the global namespace. {_UNRESOLVED}"


def _columns(kind: str, role: str) -> tuple[Column, ...]:
    return (
        NAME,
        Column("Role", describe=role),
        AGE,
        Column("Users", describe=f"Users in the {kind}", priority=1),
        Column("Groups", describe=f"Groups in the {kind}", priority=1),
        Column("ServiceAccounts", describe=f"ServiceAccounts in the {kind}", priority=1),
    )


TABLES: dict[tuple[str, str], Table] = {
    (GROUP, "RoleBinding"): Table(_columns("roleBinding", _ROLE), _binding),
    (GROUP, "ClusterRoleBinding"): Table(_columns("clusterRoleBinding", _CLUSTER_ROLE), _binding),
}
