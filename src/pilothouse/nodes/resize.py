"""Resizing in place (KEP-1287): the spec asks, the node gives, waits (Deferred) or never will (Infeasible).

What a container was given stands in its `Run`; a simulated container takes a new size at once, or by a restart
where its resizePolicy says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pilothouse.api.types import Obj
from pilothouse.nodes import requests
from pilothouse.nodes.admission import Usage, shortage
from pilothouse.nodes.behaviour import SIGKILL
from pilothouse.nodes.containers import field_path, restart_now
from pilothouse.nodes.life import Life, containers, is_sidecar
from pilothouse.nodes.requests import Requests

RETRY_S = 10.0
_RESIZABLE = ("cpu", "memory")


def asks(pod: Obj, life: Life) -> bool:
    """Whether a running container has other resources than the spec wants."""
    return any(_differs(life, container) for _, container in containers(pod))


def _differs(life: Life, container: Obj) -> bool:
    run = life.runs.get(container["name"])
    if run is None or run.resources is None or not run.running:
        return False
    wanted = container.get("resources") or {}
    return any(
        _sizes(run.resources.get(field)) != _sizes(wanted.get(field)) for field in ("requests", "limits")
    )


def _sizes(values: Mapping[str, str] | None) -> dict[str, int]:
    return {k: v for k, v in requests.amounts(values).items() if k in _RESIZABLE}


def apply(pod: Obj, life: Life, node: Obj, others: Usage, now_s: float) -> None:
    """Give what is asked if the node has it beside what `others` take; note in `life.resize` why not."""
    refusal = _refusal(node, others, requests.of_pod(pod))
    if refusal is not None:
        reason, why = refusal
        if life.resize != refusal:
            life.note("Warning", f"Resize{reason}", _text(pod, reason, why))
        life.resize = refusal
        return
    life.resize = None
    life.note("Normal", "ResizeStarted", _text(pod, "started"))
    for group, container in containers(pod):
        if _differs(life, container):
            _give(pod, life, group, container, now_s)
    life.note("Normal", "ResizeCompleted", _text(pod, "completed"))


def _refusal(node: Obj, others: Usage, wanted: Requests) -> tuple[str, str] | None:
    """Reason and message of PodResizePending."""
    allocatable = requests.amounts((node.get("status") or {}).get("allocatable"))
    too_much = shortage(allocatable, {}, wanted.amounts)
    if too_much is not None:
        name = too_much.reason.removeprefix("OutOf")
        return (
            "Infeasible",
            f"Node didn't have enough capacity: {name}, requested: {wanted.amounts[name]}, "
            f"capacity: {allocatable.get(name, 0)}",
        )
    short = shortage(allocatable, others.amounts, wanted.amounts)
    return None if short is None else ("Deferred", short.message)


def _text(pod: Obj, what: str, why: str = "") -> str:
    """As kubelets tell of a resize in events (pkg/kubelet/allocation PodResizePendingMsg and its like)."""
    told: Obj = {}
    for group in ("initContainers", "containers"):
        entries = [
            {"name": c["name"], "resources": _resizable(c.get("resources") or {})}
            for c in pod["spec"].get(group) or ()
            if group == "containers" or is_sidecar(c)
        ]
        if entries:
            told[group] = entries
    told["generation"] = pod["metadata"].get("generation", 0)
    if why:
        told["error"] = why
    return f"Pod resize {what}: {json.dumps(told, separators=(',', ':'))}"


def _resizable(resources: Obj) -> Obj:
    kept = {
        field: {k: v for k, v in sorted((resources.get(field) or {}).items()) if k in _RESIZABLE}
        for field in ("limits", "requests")
    }
    return {field: values for field, values in kept.items() if values}


def _give(pod: Obj, life: Life, group: str, container: Obj, now_s: float) -> None:
    run = life.run(container["name"])
    before, wanted = run.resources or {}, container.get("resources") or {}
    changed = {
        name
        for field in ("requests", "limits")
        for name in _RESIZABLE
        if _sizes(before.get(field)).get(name) != _sizes(wanted.get(field)).get(name)
    }
    run.resources = wanted
    policies = {p["resourceName"]: p["restartPolicy"] for p in container.get("resizePolicy") or ()}
    if any(policies.get(name) == "RestartContainer" for name in changed):
        text = f"Container {container['name']} resize requires restart"
        life.note("Normal", "Killing", text, field_path(group, container))
        restart_now(pod, life, group, container, now_s, life.plan(pod, container).stop_code or SIGKILL)
