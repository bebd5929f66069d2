"""Roles of controllers whose API is off by default: made where it is served (bootstrappolicy/controller_policy.go,
there by feature gate)."""

from __future__ import annotations

from pilothouse.api.catalog import Catalog
from pilothouse.api.resources import CLUSTER_TRUST_BUNDLES, POD_CERTIFICATE_REQUESTS, Resource
from pilothouse.api.types import Obj

_RBAC = "rbac.authorization.k8s.io"
_EVENTS: Obj = {
    "verbs": ["create", "patch", "update"],
    "apiGroups": ["", "events.k8s.io"],
    "resources": ["events"],
}
_ROLES: dict[Resource, tuple[str, list[Obj]]] = {
    POD_CERTIFICATE_REQUESTS: (
        "podcertificaterequestcleaner",
        [
            {
                "verbs": ["delete", "get", "list", "watch"],
                "apiGroups": [POD_CERTIFICATE_REQUESTS.group],
                "resources": [POD_CERTIFICATE_REQUESTS.plural],
            }
        ],
    ),
    CLUSTER_TRUST_BUNDLES: (
        "kube-apiserver-serving-clustertrustbundle-publisher",
        [
            {
                "verbs": ["attest"],
                "apiGroups": [CLUSTER_TRUST_BUNDLES.group],
                "resources": ["signers"],
                "resourceNames": ["kubernetes.io/kube-apiserver-serving"],
            },
            {
                "verbs": ["create", "delete", "list", "update", "watch"],
                "apiGroups": [CLUSTER_TRUST_BUNDLES.group],
                "resources": [CLUSTER_TRUST_BUNDLES.plural],
            },
            _EVENTS,
        ],
    ),
}
"""By the resource: the service account in kube-system, and what it may do."""


def optional_roles(catalog: Catalog) -> list[Obj]:
    """The roles and bindings of what is served, in any version."""
    served = {(each.resource.group, each.resource.plural) for each in catalog}
    return [
        obj
        for resource, (account, rules) in _ROLES.items()
        if (resource.group, resource.plural) in served
        for obj in _role(account, rules)
    ]


def _role(account: str, rules: list[Obj]) -> tuple[Obj, Obj]:
    name = f"system:controller:{account}"
    metadata = {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }
    role = {"kind": "ClusterRole", "apiVersion": f"{_RBAC}/v1", "metadata": metadata, "rules": rules}
    binding = {
        "kind": "ClusterRoleBinding",
        "apiVersion": f"{_RBAC}/v1",
        "metadata": metadata,
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}],
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
    }
    return role, binding
