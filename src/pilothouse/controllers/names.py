"""The names that --controllers knows: upstream's, with their older aliases
(cmd/kube-controller-manager/names, k8s.io/controller-manager/app IsControllerEnabled)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from pilothouse.api.device_taints import RULES_GATE
from pilothouse.kit import selection

ALIASES = {
    "attachdetach": "persistentvolume-attach-detach-controller",
    "bootstrapsigner": "bootstrap-signer-controller",
    "cloud-node-lifecycle": "cloud-node-lifecycle-controller",
    "clusterrole-aggregation": "clusterrole-aggregation-controller",
    "cronjob": "cronjob-controller",
    "csrapproving": "certificatesigningrequest-approving-controller",
    "csrcleaner": "certificatesigningrequest-cleaner-controller",
    "csrsigning": "certificatesigningrequest-signing-controller",
    "daemonset": "daemonset-controller",
    "deployment": "deployment-controller",
    "disruption": "disruption-controller",
    "endpoint": "endpoints-controller",
    "endpointslice": "endpointslice-controller",
    "endpointslicemirroring": "endpointslice-mirroring-controller",
    "ephemeral-volume": "ephemeral-volume-controller",
    "garbagecollector": "garbage-collector-controller",
    "horizontalpodautoscaling": "horizontal-pod-autoscaler-controller",
    "job": "job-controller",
    "legacy-service-account-token-cleaner": "legacy-serviceaccount-token-cleaner-controller",
    "namespace": "namespace-controller",
    "nodeipam": "node-ipam-controller",
    "nodelifecycle": "node-lifecycle-controller",
    "persistentvolume-binder": "persistentvolume-binder-controller",
    "persistentvolume-expander": "persistentvolume-expander-controller",
    "podgc": "pod-garbage-collector-controller",
    "pv-protection": "persistentvolume-protection-controller",
    "pvc-protection": "persistentvolumeclaim-protection-controller",
    "replicaset": "replicaset-controller",
    "replicationcontroller": "replicationcontroller-controller",
    "resource-claim-controller": "resourceclaim-controller",
    "resourcequota": "resourcequota-controller",
    "root-ca-cert-publisher": "root-ca-certificate-publisher-controller",
    "route": "node-route-controller",
    "service": "service-lb-controller",
    "serviceaccount": "serviceaccount-controller",
    "serviceaccount-token": "serviceaccount-token-controller",
    "statefulset": "statefulset-controller",
    "storage-version-gc": "storageversion-garbage-collector-controller",
    "tokencleaner": "token-cleaner-controller",
    "ttl": "ttl-controller",
    "ttl-after-finished": "ttl-after-finished-controller",
}
_WITHOUT_ALIAS = (
    "device-taint-eviction-controller",
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    "podcertificaterequest-cleaner-controller",
    "podgroup-protection-controller",
    "resourcepoolstatusrequest-controller",
    "selinux-warning-controller",
    "service-cidr-controller",
    "storage-version-migrator-controller",
    "taint-eviction-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
)
UPSTREAM = frozenset((*ALIASES.values(), *_WITHOUT_ALIAS))
OWN = frozenset(("simulated-provisioner-controller",))
"""Of our own, beside upstream's."""
OFF_BY_DEFAULT = frozenset(
    ("bootstrap-signer-controller", "token-cleaner-controller", "selinux-warning-controller")
)
CLOUD = frozenset(("cloud-node-lifecycle-controller", "node-route-controller", "service-lb-controller"))
"""Loops of a cloud: the names are known, and the cloud controller manager runs them (ExternalLoops upstream)."""
GATES: Mapping[str, tuple[str, ...]] = {
    "kube-apiserver-serving-clustertrustbundle-publisher-controller": ("ClusterTrustBundle",),
    "podcertificaterequest-cleaner-controller": ("PodCertificateRequest",),
    "podgroup-protection-controller": ("GenericWorkload",),
    "resourcepoolstatusrequest-controller": ("DRAResourcePoolStatus",),
    "storage-version-migrator-controller": ("StorageVersionMigrator",),
    "storageversion-garbage-collector-controller": ("APIServerIdentity", "StorageVersionAPI"),
}
"""The feature gates a controller needs (requiredFeatureGates upstream); all others are on for good in 1.36."""
ON_BY_DEFAULT = frozenset(("APIServerIdentity",))
"""Of those gates, the ones that are on unless --feature-gates says otherwise."""


APIS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "ClusterTrustBundle": (
        ("certificates.k8s.io", "v1beta1", "clustertrustbundles"),
        ("certificates.k8s.io", "v1alpha1", "clustertrustbundles"),
    ),
    RULES_GATE: (("resource.k8s.io", "v1beta2", "devicetaintrules"),),
    "DRAResourcePoolStatus": (("resource.k8s.io", "v1alpha3", "resourcepoolstatusrequests"),),
    "GenericWorkload": (("scheduling.k8s.io", "v1alpha2", "podgroups"),),
    "PodCertificateRequest": (("certificates.k8s.io", "v1beta1", "podcertificaterequests"),),
    "StorageVersionAPI": (("internal.apiserver.k8s.io", "v1alpha1", "storageversions"),),
    "StorageVersionMigrator": (("storagemigration.k8s.io", "v1beta1", "storageversionmigrations"),),
}
"""What those gates serve, as (group, version, resource): in one process with the API server, --runtime-config speaks
for the gate."""


class Selection(NamedTuple):
    """What --controllers and --feature-gates leave: the controllers to run, and why others that were asked for by name
    do not run."""

    names: list[str]
    skipped: list[str]


def served_gates(is_served: Callable[[str, str, str], object]) -> dict[str, bool]:
    """The gates whose APIs are served, by `is_served(group, version, resource)`."""
    return {gate: True for gate, apis in APIS.items() if any(is_served(*api) is not None for api in apis)}


def gated(name: str, features: Mapping[str, bool]) -> str:
    """The first feature gate that keeps a controller from running, "" for none."""
    for gate in GATES.get(name, ()):
        if not features.get(gate, gate in ON_BY_DEFAULT):
            return gate
    return ""


def select(spec: Iterable[str], served: Collection[str], features: Mapping[str, bool]) -> Selection:
    """As `selected`, less those whose feature gates are off: upstream starts without them, too."""
    spec = list(spec)
    running, skipped = [], []
    named = {ALIASES.get(part, part) for part in spec}
    for name in selected(spec, served):
        gate = gated(name, features)
        if not gate:
            running.append(name)
        elif name in named:
            skipped.append(f"controller {name} is disabled by a feature gate: {gate}")
    skipped += [
        f"controller {name} belongs to the cloud controller manager: it does not run here"
        for name in sorted(named & CLOUD)
    ]
    return Selection(running, skipped)


def selected(spec: Iterable[str], served: Collection[str]) -> list[str]:
    """Those of `served`, in their order, that --controllers selects. ValueError for a name that upstream has not, or
    that is asked for and not served."""
    return selection.selected(
        spec, served, known=UPSTREAM, aliases=ALIASES, off=OFF_BY_DEFAULT, elsewhere=CLOUD
    )
