"""Roles of controllers of alpha and beta APIs: made where those are served (bootstrappolicy/controller_policy.go,
there by feature gate). Where upstream adds rules to a role that is there anyway, they come as a role of their own,
which also gets into clusters that have that one already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pilothouse.api.catalog import Catalog
from pilothouse.api.types import Obj

_RBAC = "rbac.authorization.k8s.io"


def _rule(verbs: str, group: str, *resources: str) -> Obj:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": list(resources)}


_EVENTS: Obj = {
    "verbs": ["create", "patch", "update"],
    "apiGroups": ["", "events.k8s.io"],
    "resources": ["events"],
}
_CERTIFICATES, _DRA = "certificates.k8s.io", "resource.k8s.io"
_SCHEDULING, _MIGRATION = "scheduling.k8s.io", "storagemigration.k8s.io"
_ROLES: Mapping[tuple[str, str], tuple[str, list[Obj]]] = {
    (_DRA, "devicetaintrules"): (
        "device-taint-eviction-controller",
        [
            _rule("get list watch", _DRA, "devicetaintrules"),
            _rule("patch update", _DRA, "devicetaintrules/status"),
        ],
    ),
    (_DRA, "resourcepoolstatusrequests"): (
        "resourcepoolstatusrequest-controller",
        [
            _rule("delete get list watch", _DRA, "resourcepoolstatusrequests"),
            _rule("patch update", _DRA, "resourcepoolstatusrequests/status"),
            _rule("get list watch", _DRA, "resourceclaims", "resourceslices"),
            _EVENTS,
        ],
    ),
    (_CERTIFICATES, "podcertificaterequests"): (
        "podcertificaterequestcleaner",
        [_rule("delete get list watch", _CERTIFICATES, "podcertificaterequests")],
    ),
    (_CERTIFICATES, "clustertrustbundles"): (
        "kube-apiserver-serving-clustertrustbundle-publisher",
        [
            {
                **_rule("attest", _CERTIFICATES, "signers"),
                "resourceNames": ["kubernetes.io/kube-apiserver-serving"],
            },
            _rule("create delete list update watch", _CERTIFICATES, "clustertrustbundles"),
            _EVENTS,
        ],
    ),
    (_SCHEDULING, "podgroups"): (
        "podgroup-protection-controller",
        [
            _rule("get list patch update watch", _SCHEDULING, "podgroups"),
            _rule("get list watch", "", "pods"),
            _EVENTS,
        ],
    ),
    (_MIGRATION, "storageversionmigrations"): (
        "storage-version-migrator-controller",
        [
            _rule("create list patch", "*", "*"),
            _rule("get list watch", _MIGRATION, "storageversionmigrations"),
            _rule("patch update", _MIGRATION, "storageversionmigrations/status"),
            _EVENTS,
        ],
    ),
    ("internal.apiserver.k8s.io", "storageversions"): (
        "storage-version-garbage-collector",
        [
            _rule("get list watch", "coordination.k8s.io", "leases"),
            _rule("delete get list watch", "internal.apiserver.k8s.io", "storageversions"),
            _rule("patch update", "internal.apiserver.k8s.io", "storageversions/status"),
        ],
    ),
}
"""By group and resource: the service account in kube-system, and what it may do."""


def gated_roles(catalog: Catalog) -> list[Obj]:
    """The roles and bindings of what is served, in any version."""
    served = {(each.resource.group, each.resource.plural) for each in catalog}
    made = [obj for api, (account, rules) in _ROLES.items() if api in served for obj in _role(account, rules)]
    return [*made, *(_scheduler_role() if (_DRA, "devicetaintrules") in served else ())]


def _role(account: str, rules: list[Obj]) -> Iterable[Obj]:
    suffix = _BESIDE.get(account, "")
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}
    return _bound(f"system:controller:{account}{suffix}", rules, subject)


_BESIDE = {"device-taint-eviction-controller": ":device-taint-rules"}
"""Accounts that have a role anyway: what the second one is called."""


def _scheduler_role() -> Iterable[Obj]:
    rules = [_rule("get list watch", _DRA, "devicetaintrules")]
    subject = {"apiGroup": _RBAC, "kind": "User", "name": "system:kube-scheduler"}
    return _bound("system:kube-scheduler:device-taint-rules", rules, subject)


def _bound(name: str, rules: list[Obj], subject: Obj) -> Iterable[Obj]:
    metadata = {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }
    typed = {"apiVersion": f"{_RBAC}/v1", "metadata": metadata}
    yield {**typed, "kind": "ClusterRole", "rules": rules}
    yield {
        **typed,
        "kind": "ClusterRoleBinding",
        "subjects": [subject],
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
    }
