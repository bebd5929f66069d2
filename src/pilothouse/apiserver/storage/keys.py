"""Where objects lie in the store: upstream's keys (pkg/kubeapiserver default_storage_factory_builder.go), so
that an upstream kube-apiserver on the same etcd finds them.

    /registry/pods/NAMESPACE/NAME        /registry/minions/NAME        /registry/GROUP/PLURAL/… for custom ones
"""

from __future__ import annotations

from pilothouse.api.resources import Resource

ROOT = "/registry/"
"""Where --etcd-prefix says nothing else."""

_SPECIAL = {
    ("", "nodes"): "minions",
    ("", "endpoints"): "services/endpoints",
    ("", "services"): "services/specs",
    ("", "replicationcontrollers"): "controllers",
    ("networking.k8s.io", "ingresses"): "ingress",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
    ("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices",
}


def root(etcd_prefix: str) -> str:
    """With its slashes, from what --etcd-prefix says (path.Join("/", prefix) in etcd3's store)."""
    return f"/{etcd_prefix.strip('/')}/" if etcd_prefix.strip("/") else "/"


def prefix(resource: Resource, *, custom: bool = False, root: str = ROOT) -> str:
    """The prefix of all keys of a resource, with its closing slash."""
    if custom:
        return f"{root}{resource.group}/{resource.plural}/"
    group = "" if resource.group == "events.k8s.io" else resource.group
    return f"{root}{_SPECIAL.get((group, resource.plural), resource.plural)}/"
