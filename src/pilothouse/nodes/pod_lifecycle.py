"""A pod's way on its node: a pure function of the pod, its past and the time.

    bound ──admitted──▶ volumes mounted ──▶ init containers in order ──▶ containers ──▶ Running, Ready
      │                     │                 (sidecars stay)                │
      └─rejected─▶ Failed   └─missing: waits                  all ended, none restarted ─▶ Succeeded | Failed

    all ended, past its deadline, or told to end ──▶ what still runs is stopped, sidecars last ──▶ its status is
    final ──▶ of one that is told to end the object goes

What a moment looks like from outside is `pod_status`; who calls whom is `pods`.
"""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.nodes import containers
from pilothouse.nodes.behaviour import SIGKILL
from pilothouse.nodes.life import Life, is_sidecar

DEADLINE = "DeadlineExceeded"
DEADLINE_TEXT = "Pod was active on the node longer than the specified deadline"
LEAST_GRACE_S = 2.0
"""However late a container is told, that long it has (kuberuntime minimumGracePeriodInSeconds)."""


def advance(pod: Obj, life: Life, now_s: float) -> float | None:
    """Bring the containers to `now_s`; when to look again, None when nothing is to come."""
    if life.rejected:
        return None
    spec = pod["spec"]
    if life.kill_s is not None:
        return stop(pod, life, now_s, _own_grace_s(spec))
    wakes: list[float] = []
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None:
        if now_s >= life.started_s + deadline:
            life.deadline_passed = True
            life.note("Normal", DEADLINE, DEADLINE_TEXT)
            return stop(pod, life, now_s, _own_grace_s(spec))
        wakes.append(life.started_s + deadline)
    if life.mount_error:
        wakes.append(life.retry_s)
        return min(wakes)
    life.sandbox = True
    if life.config_errors:
        wakes.append(life.retry_s)
    if _advance_init(pod, life, now_s, wakes):
        for container in spec.get("containers") or ():
            containers.advance(pod, life, "containers", container, now_s, wakes)
    for container in spec.get("ephemeralContainers") or ():
        containers.advance(pod, life, "ephemeralContainers", container, now_s, wakes)
    if outcome(pod, life):
        return stop(pod, life, now_s, _own_grace_s(spec))
    return min(wakes) if wakes else None


def _own_grace_s(spec: Obj) -> float:
    return max(float(spec.get("terminationGracePeriodSeconds", 30)), 1.0)


def _advance_init(pod: Obj, life: Life, now_s: float, wakes: list[float]) -> bool:
    """True when the main containers may start. Sidecars are brought on whatever is in front of them."""
    init = pod["spec"].get("initContainers")
    if not init:
        return True
    if any(life.run(c["name"]).started_s is not None for c in pod["spec"].get("containers") or ()):
        for container in init:
            if is_sidecar(container):
                containers.advance(pod, life, "initContainers", container, now_s, wakes)
        return True
    for container in init:
        containers.advance(pod, life, "initContainers", container, now_s, wakes)
        if not is_past(pod, life, container, now_s):
            return False
    return True


def is_past(pod: Obj, life: Life, container: Obj, now_s: float) -> bool:
    """Whether what follows this init container may start: it ended well, or, of a sidecar, it has started."""
    if is_sidecar(container):
        return containers.is_started(pod, life, container, now_s)
    run = life.run(container["name"])
    return run.over and run.exit_code == 0


def outcome(pod: Obj, life: Life) -> str:
    """Succeeded or Failed when nothing of the pod runs or will run again, "" before."""
    if life.rejected or life.deadline_passed:
        return "Failed"
    for container in pod["spec"].get("initContainers") or ():
        run = life.run(container["name"])
        if is_sidecar(container):
            continue
        if run.over and run.exit_code:
            if not containers.restarts(pod, "initContainers", container, run.exit_code):
                return "Failed"
            return ""
        if not run.over:
            return ""
    failed = False
    for container in pod["spec"].get("containers") or ():
        run = life.run(container["name"])
        if not run.over or containers.restarts(pod, "containers", container, run.exit_code):
            return ""
        failed = failed or run.exit_code != 0
    return "Failed" if failed else "Succeeded"


def has_running(life: Life) -> bool:
    return any(run.running for run in life.runs.values())


def end(pod: Obj, life: Life, now_s: float) -> float | None:
    """`stop` for a pod that is told to end."""
    return stop(pod, life, now_s, float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))


def stop(pod: Obj, life: Life, now_s: float, grace_s: float) -> float | None:
    """Stop what runs of a pod; when to look again, None when all its containers have ended.

    Main containers get their signal at once, sidecars in reverse order once those are gone; all of it within the
    grace period. A shorter one, given later, counts from then."""
    if life.kill_s is None:
        life.kill_s, life.killed_s = now_s, now_s + grace_s
        _tell_killing(pod, life)
    life.killed_s = min(life.killed_s, now_s + grace_s)
    spec = pod["spec"]
    at_s = life.kill_s
    for group in ("containers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            at_s = max(at_s, _stop_one(pod, life, container, life.kill_s, now_s))
    if at_s > now_s:
        return at_s
    for container in reversed(spec.get("initContainers") or ()):
        at_s = max(at_s, _stop_one(pod, life, container, at_s, now_s))
        if at_s > now_s:
            return at_s
    return None


def _stop_one(pod: Obj, life: Life, container: Obj, told_s: float, now_s: float) -> float:
    """When it ends, or ended, `told_s` at the earliest."""
    run = life.run(container["name"])
    if run.ended_s is not None and life.kill_s is not None and run.ended_s > life.kill_s:
        return max(told_s, run.ended_s)
    if not run.running:
        return told_s
    does = life.plan(pod, container)
    last_s = max(life.killed_s, told_s + LEAST_GRACE_S)
    wanted_s = told_s + does.hook_s + does.stop_s
    ends_s = min(wanted_s, last_s)
    if now_s >= ends_s:
        late = wanted_s > last_s
        containers.kill(run, max(ends_s, run.started_s or 0.0), SIGKILL if late else does.stop_code)
    return ends_s


def _tell_killing(pod: Obj, life: Life) -> None:
    for group in ("containers", "initContainers"):
        for container in pod["spec"].get(group) or ():
            if life.run(container["name"]).running:
                text = f"Stopping container {container['name']}"
                life.note("Normal", "Killing", text, containers.field_path(group, container))
