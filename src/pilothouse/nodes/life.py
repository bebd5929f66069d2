"""What a simulated kubelet remembers of a pod, and how it learns it again from the pod's status.

A `Life` lives in memory only while something is still to come (a start, an end, a retry). A pod that simply runs
has none: its status says all there is, and `resume` reads it back when the pod changes or the process starts anew.

One container's `Run`:

    waiting ──start──▶ running ──its plan ends, a probe kills it, it is told to end──▶ ended
       ▲                                                                                │
       └───────────────── restarted at once, or after its back-off ◀────────────────────┘
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pilothouse.api.types import Obj
from pilothouse.kit.world import parse_timestamp, timestamp
from pilothouse.nodes.behaviour import Plan, plan

TERMINAL = ("Succeeded", "Failed")
BACKOFF_S_MIN = 10.0
BACKOFF_S_MAX = 300.0


class Note(NamedTuple):
    """An event to come. `container` is a container's field path (`spec.containers{web}`), "" for the pod's own."""

    type: str
    reason: str
    message: str
    container: str = ""


@dataclass(slots=True)
class Run:
    """One container. Times are seconds since 1970; `started_s` None: waiting, `ended_s` None: not ended."""

    started_s: float | None = None
    ended_s: float | None = None
    exit_code: int = 0
    reason: str = ""
    restarts: int = 0
    again_s: float = 0.0
    """When it starts (again), or when its image is asked for again."""
    backoff_s: float = 0.0
    lengthened_s: float = 0.0
    """When `backoff_s` last grew."""
    last: Obj | None = None
    """`terminated` of the run before this one."""
    image: str = ""
    pulls: int = 0
    pulled_s: float = 0.0
    """When the image was last asked for in vain."""
    waiting: tuple[str, str] | None = None
    """Reason and message of a container that cannot start."""
    resources: Obj | None = None
    """What it was given; None until it starts."""
    told_back_off: bool = False
    unhealthy: dict[str, int] = field(default_factory=dict)
    """By kind of probe: how many of this run's failures were told."""

    @property
    def running(self) -> bool:
        return self.started_s is not None and self.ended_s is None

    @property
    def over(self) -> bool:
        return self.ended_s is not None


@dataclass(slots=True)
class Life:
    """A pod's life on its node, since `started_s`."""

    ip: str
    host_ip: str
    started_s: float
    sandbox: bool = False
    """Its volumes are mounted and its network is up."""
    runs: dict[str, Run] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    mount_error: str = ""
    mount_tries: int = 0
    unattached: bool = False
    """`mount_error` is that volumes are not attached to the node yet."""
    mounting_s: float | None = None
    """Since when they are waited for, in this round."""
    config_errors: dict[str, str] = field(default_factory=dict)
    """By container: why its environment cannot be made."""
    retry_s: float = 0.0
    """When references are looked at again."""
    checked: bool = False
    """Its references were found."""
    deadline_passed: bool = False
    rejected: tuple[str, str] | None = None
    """Reason and message of an admission that failed."""
    kill_s: float | None = None
    """When what runs was told to stop."""
    killed_s: float = 0.0
    """When the last of it is killed."""
    resize: tuple[str, str] | None = None
    """Reason and message of a resize that waits or never will be."""
    notes: list[Note] = field(default_factory=list)

    def run(self, name: str) -> Run:
        found = self.runs.get(name)
        if found is None:
            found = self.runs[name] = Run()
        return found

    def plan(self, pod: Obj, container: Obj) -> Plan:
        name = container["name"]
        found = self.plans.get(name)
        if found is None:
            found = self.plans[name] = plan(pod, container)
        return found

    def note(self, type: str, reason: str, message: str, container: str = "") -> None:
        self.notes.append(Note(type, reason, message, container))


def containers(pod: Obj) -> Iterator[tuple[str, Obj]]:
    """Every container with the field of the spec that holds it, in the order in which they start."""
    spec = pod["spec"]
    for field_name in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field_name) or ():
            yield field_name, container


def is_sidecar(container: Obj) -> bool:
    """Of an init container."""
    return container.get("restartPolicy") == "Always"


def container_id(pod: Obj, name: str, attempt: int) -> str:
    """Made up, and the same whenever it is asked for."""
    digest = hashlib.sha256(f"{pod['metadata']['uid']}/{name}/{attempt}".encode()).hexdigest()
    return f"simulated://{digest}"


def terminated(pod: Obj, name: str, run: Run) -> Obj:
    """The `terminated` state of a run that has ended."""
    assert run.ended_s is not None
    started_s = run.started_s if run.started_s is not None else run.ended_s
    return {
        "exitCode": run.exit_code,
        "reason": run.reason or ("Error" if run.exit_code else "Completed"),
        "startedAt": timestamp(started_s),
        "finishedAt": timestamp(run.ended_s),
        "containerID": container_id(pod, name, run.restarts),
    }


def resume(pod: Obj, ip: str, host_ip: str, now_s: float) -> Life:
    """The life of a pod that is on its node already, from its status."""
    status = pod.get("status") or {}
    started = status.get("startTime")
    life = Life(ip, host_ip, parse_timestamp(started) if started else now_s)
    for group in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(group) or ():
            life.runs[entry["name"]] = _resumed(entry, now_s)
    if any(run.started_s is not None for run in life.runs.values()):
        life.sandbox = life.checked = True
    return life


def _resumed(entry: Obj, now_s: float) -> Run:
    run = Run(restarts=entry.get("restartCount", 0), image=entry.get("image", ""))
    state, last = entry.get("state") or {}, (entry.get("lastState") or {}).get("terminated")
    run.resources = entry.get("resources") or {}
    if "running" in state:
        run.started_s = _time(state["running"].get("startedAt"), now_s)
        run.last = last
        if run.restarts:
            run.backoff_s, run.lengthened_s = _backoff_after(run.restarts), run.started_s
    elif "terminated" in state:
        _read_end(run, state["terminated"], now_s)
        run.last = last
    elif last is not None:
        # It waits for its back-off.
        _read_end(run, last, now_s)
        assert run.ended_s is not None
        run.backoff_s, run.lengthened_s = _backoff_after(run.restarts), run.started_s or run.ended_s
        run.again_s = run.ended_s + run.backoff_s
    else:
        run.resources = None
    return run


def _backoff_after(restarts: int) -> float:
    return min(BACKOFF_S_MIN * 2.0 ** min(max(restarts - 1, 0), 16), BACKOFF_S_MAX)


def _read_end(run: Run, end: Obj, now_s: float) -> None:
    run.started_s = _time(end.get("startedAt"), now_s)
    run.ended_s = _time(end.get("finishedAt"), now_s)
    run.exit_code, run.reason = end.get("exitCode", 0), end.get("reason", "")


def _time(text: str | None, default_s: float) -> float:
    return parse_timestamp(text) if text else default_s
