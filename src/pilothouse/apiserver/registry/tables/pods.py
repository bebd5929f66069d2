"""Table columns of pods and of the core kinds that carry a pod template (printPod and its kin in
pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables import workload_cells as cells
from pilothouse.apiserver.registry.tables.cells import age, name, since
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table

FINISHED = {
    "Succeeded": {
        "type": "Completed",
        "status": "True",
        "reason": "Succeeded",
        "message": "The pod has completed successfully.",
    },
    "Failed": {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."},
}


@dataclass(slots=True)
class _Count:
    """What a pod's containers did so far; `restarted` is the latest end of one that came back."""

    ready: int = 0
    restarts: int = 0
    restarted: str = ""

    def add(self, status: Obj) -> None:
        self.restarts += status.get("restartCount", 0)
        ended = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.restarted = max(self.restarted, ended)


def _pod(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    count, reason = _Count(), _first_reason(status)
    total = len(spec.get("containers") or ()) + len(sidecars)
    starting, of_sidecars = _init(status, spec, sidecars, count)
    if starting:
        reason = starting
    if not starting or _is_true(status, "Initialized"):
        ready = count.ready
        count = of_sidecars
        count.ready = ready
        reason = _running(status, reason, count)
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in FINISHED:
            reason = "Terminating"
    restarts = str(count.restarts)
    if count.restarts and count.restarted:
        restarts = f"{count.restarts} ({since(count.restarted, now_s)} ago)"
    return [
        name(obj),
        f"{count.ready}/{total}",
        reason,
        restarts,
        age(obj, now_s),
        _address(status),
        spec.get("nodeName") or cells.NONE,
        status.get("nominatedNodeName") or cells.NONE,
        _gates(spec, status),
    ]


def _first_reason(status: Obj) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return str(status.get("reason") or status.get("phase", ""))


def _init(status: Obj, spec: Obj, sidecars: set[Any], count: _Count) -> tuple[str, _Count]:
    """What the first init container that is not done says, "" when all are; and the sidecars' restarts."""
    of_sidecars = _Count()
    total = len(spec.get("initContainers") or ())
    for i, container in enumerate(status.get("initContainerStatuses") or ()):
        count.add(container)
        sidecar = container.get("name") in sidecars
        if sidecar:
            of_sidecars.add(container)
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and not ended.get("exitCode"):
            continue
        if sidecar and container.get("started"):
            count.ready += bool(container.get("ready"))
            continue
        if ended is not None:
            return f"Init:{_ended(ended)}", of_sidecars
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}", of_sidecars
        return f"Init:{i}/{total}", of_sidecars
    return "", of_sidecars


def _ended(terminated: Obj) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _running(status: Obj, reason: str, count: _Count) -> str:
    """The first container's trouble wins, so they are looked at from the last to the first."""
    running = False
    for container in reversed(status.get("containerStatuses") or []):
        count.add(container)
        state = container.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            reason = _ended(state["terminated"])
        elif container.get("ready") and state.get("running") is not None:
            running = True
            count.ready += 1
    if reason == "Completed" and running:
        return "Running" if _is_true(status, "Ready") else "NotReady"
    return reason


def _is_true(status: Obj, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def _address(status: Obj) -> str:
    addresses = status.get("podIPs")
    return str((addresses[0].get("ip") if addresses else status.get("podIP")) or cells.NONE)


def _gates(spec: Obj, status: Obj) -> str:
    gates = spec.get("readinessGates") or ()
    if not gates:
        return cells.NONE
    open_ = sum(_is_true(status, gate.get("conditionType", "")) for gate in gates)
    return f"{open_}/{len(gates)}"


def _finished(obj: Obj) -> list[Obj]:
    condition = FINISHED.get((obj.get("status") or {}).get("phase", ""))
    return [] if condition is None else [dict(condition)]


def _template(obj: Obj, _now_s: float) -> list[Any]:
    template = obj["template"]
    labels = cells.formatted(template["metadata"].get("labels"))
    return [name(obj), cells.containers(template), cells.images(template), labels]


def _controller(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj["status"]
    template = spec.get("template") or {"spec": {}}
    return [
        name(obj),
        spec.get("replicas", 0),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        age(obj, now_s),
        cells.containers(template),
        cells.images(template),
        cells.formatted(spec.get("selector")),
    ]


TABLES: dict[tuple[str, str], Table] = {
    ("", "Pod"): Table(
        (
            NAME,
            Column("Ready", describe="The aggregate readiness state of this pod for accepting traffic."),
            Column("Status", describe="The aggregate status of the containers in this pod."),
            Column(
                "Restarts",
                describe="The number of times the containers in this pod have been restarted and when the last "
                "container in this pod has restarted.",
            ),
            AGE,
            Column("IP", describe="@status.podIP", priority=1),
            Column("Node", describe="@spec.nodeName", priority=1),
            Column("Nominated Node", describe="@status.nominatedNodeName", priority=1),
            Column("Readiness Gates", describe="@spec.readinessGates", priority=1),
        ),
        _pod,
        _finished,
    ),
    ("", "PodTemplate"): Table(
        (
            NAME,
            cells.CONTAINERS._replace(priority=0),
            cells.IMAGES._replace(priority=0),
            Column("Pod Labels", describe="The labels for the pod template."),
        ),
        _template,
    ),
    ("", "ReplicationController"): Table(
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
        _controller,
    ),
}
