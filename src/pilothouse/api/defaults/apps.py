"""Defaults of the kinds in apps (pkg/apis/apps/v1/defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults import pods
from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _replicas(spec: Obj) -> None:
    if spec.get("replicas") is None:
        spec["replicas"] = 1


def _history(spec: Obj) -> None:
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = 10


def _absent(obj: Obj, name: str, value: object) -> None:
    if obj.get(name) is None:
        obj[name] = value


def deployment(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    pods.template(spec.get("template"))
    _replicas(spec)
    strategy = spec.setdefault("strategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        _absent(rolling, "maxUnavailable", "25%")
        _absent(rolling, "maxSurge", "25%")
    _history(spec)
    _absent(spec, "progressDeadlineSeconds", 600)


def replica_set(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    pods.template(spec.get("template"))
    _replicas(spec)


def daemon_set(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    pods.template(spec.get("template"))
    # The first API's spec.templateGeneration, 0 until the server counts.
    metadata = obj["metadata"]
    metadata["annotations"] = {TEMPLATE_GENERATION: "0", **(metadata.get("annotations") or {})}
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        _absent(rolling, "maxUnavailable", 1)
        _absent(rolling, "maxSurge", 0)
    _history(spec)


def stateful_set(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    pods.template(spec.get("template"))
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        _absent(strategy, "rollingUpdate", {})
        _absent(strategy["rollingUpdate"], "partition", 0)
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        _absent(strategy["rollingUpdate"], "partition", 0)
        if strategy["rollingUpdate"].get("maxUnavailable") is not None:
            _absent(strategy["rollingUpdate"], "maxUnavailable", 1)
    retention = spec["persistentVolumeClaimRetentionPolicy"] = (
        spec.get("persistentVolumeClaimRetentionPolicy") or {}
    )
    for name in ("whenDeleted", "whenScaled"):
        if not retention.get(name):
            retention[name] = "Retain"
    _replicas(spec)
    _history(spec)
    for claim in spec.get("volumeClaimTemplates") or ():
        _claim(claim)


def _claim(claim: Obj) -> None:
    claim["kind"], claim["apiVersion"] = "PersistentVolumeClaim", "v1"
    _absent(claim.setdefault("spec", {}), "volumeMode", "Filesystem")
    status = claim.setdefault("status", {})
    if not status.get("phase"):
        status["phase"] = "Pending"


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("apps", "v1", "Deployment"): deployment,
    ("apps", "v1", "ReplicaSet"): replica_set,
    ("apps", "v1", "DaemonSet"): daemon_set,
    ("apps", "v1", "StatefulSet"): stateful_set,
}
