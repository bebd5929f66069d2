"""Defaults of the kinds in rbac.authorization.k8s.io (pkg/apis/rbac/v1/defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj

GROUP = "rbac.authorization.k8s.io"


def binding(obj: Obj) -> None:
    if not obj["roleRef"].get("apiGroup"):
        obj["roleRef"]["apiGroup"] = GROUP
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = GROUP


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    (GROUP, "v1", "RoleBinding"): binding,
    (GROUP, "v1", "ClusterRoleBinding"): binding,
}
