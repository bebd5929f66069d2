"""Table columns of the kinds in apps (pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables import workload_cells as cells
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table

_READY = Column("Ready", describe="Number of the pod with ready state")


def _wide(spec: Obj) -> list[Any]:
    template = spec["template"]
    return [cells.containers(template), cells.images(template), cells.selector(spec.get("selector"))]


def _deployment(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj["status"]
    return [
        name(obj),
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        age(obj, now_s),
        *_wide(spec),
    ]


def _replica_set(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj["status"]
    return [
        name(obj),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(obj, now_s),
        *_wide(spec),
    ]


def _daemon_set(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj["status"]
    return [
        name(obj),
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("numberReady", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        cells.formatted(spec["template"]["spec"].get("nodeSelector")),
        age(obj, now_s),
        *_wide(spec),
    ]


def _stateful_set(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj["status"]
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    template = spec["template"]
    return [name(obj), ready, age(obj, now_s), cells.containers(template), cells.images(template)]


def _revision(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), _owner(obj), obj.get("revision", 0), age(obj, now_s)]


def _owner(obj: Obj) -> str:
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            group, slash, _ = reference.get("apiVersion", "").partition("/")
            kind = reference.get("kind", "").lower()
            return f"{kind}.{group}/{reference.get('name')}" if slash else f"{kind}/{reference.get('name')}"
    return cells.NONE


TABLES: dict[tuple[str, str], Table] = {
    ("apps", "Deployment"): Table(
        (
            NAME,
            _READY,
            Column("Up-to-date", describe="@status.updatedReplicas"),
            Column("Available", describe="@status.availableReplicas"),
            AGE,
            cells.CONTAINERS,
            cells.IMAGES,
            cells.SELECTOR,
        ),
        _deployment,
    ),
    ("apps", "ReplicaSet"): Table(
        (
            NAME,
            Column("Desired", "integer", describe="@spec.replicas"),
            Column("Current", "integer", describe="@status.replicas"),
            Column("Ready", "integer", describe="@status.readyReplicas"),
            AGE,
            cells.CONTAINERS,
            cells.IMAGES,
            cells.SELECTOR,
        ),
        _replica_set,
    ),
    ("apps", "DaemonSet"): Table(
        (
            NAME,
            Column("Desired", "integer", describe="@status.desiredNumberScheduled"),
            Column("Current", "integer", describe="@status.currentNumberScheduled"),
            Column("Ready", "integer", describe="@status.numberReady"),
            Column("Up-to-date", "integer", describe="@status.updatedNumberScheduled"),
            Column("Available", "integer", describe="@status.numberAvailable"),
            Column("Node Selector", describe="@spec.template.spec.nodeSelector"),
            AGE,
            cells.CONTAINERS,
            cells.IMAGES,
            cells.SELECTOR,
        ),
        _daemon_set,
    ),
    ("apps", "StatefulSet"): Table((NAME, _READY, AGE, cells.CONTAINERS, cells.IMAGES), _stateful_set),
    ("apps", "ControllerRevision"): Table(
        (
            NAME,
            Column("Controller", describe="Controller of the object"),
            Column("Revision", describe="@revision"),
            AGE,
        ),
        _revision,
    ),
}
