"""Objects for the what-if tests: the fewest fields that make a point."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj


def node(name: str, cpu: str = "4", *, labels: dict[str, str] | None = None, **fields: Any) -> Obj:
    """`fields`: taints, unschedulable, and annotations."""
    meta = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}
    if "annotations" in fields:
        meta["annotations"] = fields.pop("annotations")
    room = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": meta,
        "spec": fields,
        "status": {"allocatable": room},
    }


def spec(cpu: str = "1", **fields: Any) -> Obj:
    return {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}], **fields}


def pod(
    name: str, cpu: str = "1", *, on: str = "", labels: dict[str, str] | None = None, **fields: Any
) -> Obj:
    if on:
        fields["nodeName"] = on
    meta = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec(cpu, **fields)}


def workload(
    kind: str, name: str, cpu: str = "1", *, version: str = "apps/v1", pods: Obj | None = None, **more: Any
) -> Obj:
    """`pods` are fields of the pods' spec, `more` of the workload's."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec(cpu, **(pods or {}))}
    own = {} if kind in ("Job", "CronJob") else {"selector": {"matchLabels": labels}}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name},
        "spec": {**own, "template": template, **more},
    }


def priority_class(name: str, value: int) -> Obj:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
    }
