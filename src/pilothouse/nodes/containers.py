"""One container's steps in time: its image, its start, its end, its restarts. Pure; times are handed in.

Back-offs are kubelet's: the first restart is at once, then after 10 s, 20 s, … 5 min, and anew after ten quiet
minutes (pkg/kubelet/kuberuntime doBackOff); images are asked for again after 10 s, 20 s, … 5 min
(pkg/kubelet/images).
"""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.nodes.behaviour import (
    ERR_IMAGE_NEVER_PULL,
    ERR_IMAGE_PULL,
    INVALID_IMAGE_NAME,
    NEVER,
    SIGKILL,
    ImageProblem,
    Plan,
    image_problem,
    plainly_fails,
)
from pilothouse.nodes.life import BACKOFF_S_MAX, BACKOFF_S_MIN, Life, Run, is_sidecar, terminated

QUIET_S = 2 * BACKOFF_S_MAX
PULL_ERROR_SHOWN_S = 2.0
"""How long a failed pull shows as ErrImagePull before it shows as ImagePullBackOff."""


def field_path(group: str, container: Obj) -> str:
    """What an event about a container regards: `spec.containers{web}`."""
    return f"spec.{group}{{{container['name']}}}"


def pod_text(pod: Obj) -> str:
    """kubelet's format.Pod: NAME_NAMESPACE(UID)."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta.get('namespace', '')}({meta['uid']})"


def restart_policy(pod: Obj, group: str, container: Obj) -> str:
    """Always, OnFailure or Never, for this container."""
    if group == "ephemeralContainers":
        return "Never"
    own = container.get("restartPolicy")
    if own:
        return str(own)
    policy = pod["spec"].get("restartPolicy", "Always")
    return "OnFailure" if group == "initContainers" and policy == "Always" else policy


def restarts(pod: Obj, group: str, container: Obj, exit_code: int) -> bool:
    """Whether a container that ended with this code starts again (KEP-5307 for the rules of a container)."""
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        listed = exit_code in (codes.get("values") or ())
        if rule.get("action") == "Restart" and listed == (codes.get("operator") == "In"):
            return True
    policy = restart_policy(pod, group, container)
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def advance(pod: Obj, life: Life, group: str, container: Obj, now_s: float, wakes: list[float]) -> None:
    """Bring one container that may run to `now_s`; `wakes` gets the times at which something is next."""
    run, does = life.run(container["name"]), life.plan(pod, container)
    where = field_path(group, container)
    if run.running and run.image and run.image != container.get("image", ""):
        text = f"Container {container['name']} definition changed, will be restarted"
        life.note("Normal", "Killing", text, where)
        restart_now(pod, life, group, container, now_s, does.stop_code or SIGKILL)
    while True:
        if run.started_s is None and not _start(pod, life, group, container, run, now_s, wakes):
            return
        assert run.started_s is not None
        if run.ended_s is None and does.run_s is not None and now_s >= run.started_s + does.run_s:
            if container.keys() & _PROBES:
                _tell_unhealthy(life, container, run, does, where, run.started_s + does.run_s, [])
            if does.killed_by:
                _tell_killed(life, container, does.killed_by, where)
            _end(run, run.started_s + does.run_s, does.exit_code)
            _back_off(run)
        if run.ended_s is None:
            if does.run_s is not None:
                wakes.append(run.started_s + does.run_s)
            for after_s in (does.started_after_s, does.ready_after_s):
                if after_s and after_s < NEVER and now_s < run.started_s + after_s:
                    wakes.append(run.started_s + after_s)
            if container.keys() & _PROBES:
                _tell_unhealthy(life, container, run, does, where, now_s, wakes)
            return
        if not restarts(pod, group, container, run.exit_code):
            return
        if now_s < run.again_s:
            if not run.told_back_off:
                run.told_back_off = True
                text = f"Back-off restarting failed container {container['name']} in pod {pod_text(pod)}"
                life.note("Warning", "BackOff", text, where)
            wakes.append(run.again_s)
            return
        _start_again(pod, life, group, container, run, run.again_s)


def kill(run: Run, at_s: float, code: int) -> None:
    """End a container from outside."""
    _end(run, at_s, code)


def restart_now(pod: Obj, life: Life, group: str, container: Obj, now_s: float, code: int) -> None:
    """End a running container and start it again, whatever its policy says."""
    run = life.run(container["name"])
    _end(run, now_s, code)
    _start_again(pod, life, group, container, run, now_s)


def _end(run: Run, at_s: float, code: int) -> None:
    run.ended_s, run.exit_code, run.reason = at_s, code, "Error" if code else "Completed"


def _back_off(run: Run) -> None:
    """When a container that has ended starts again."""
    assert run.ended_s is not None
    quiet = run.ended_s - run.lengthened_s > QUIET_S
    if not run.backoff_s or quiet:
        run.backoff_s, run.again_s = 0.0, run.ended_s
    else:
        run.again_s = run.ended_s + run.backoff_s
    run.told_back_off = False


def _start_again(pod: Obj, life: Life, group: str, container: Obj, run: Run, at_s: float) -> None:
    run.last = terminated(pod, container["name"], run)
    run.restarts += 1
    run.backoff_s = min(run.backoff_s * 2, BACKOFF_S_MAX) or BACKOFF_S_MIN
    run.lengthened_s = at_s
    run.ended_s, run.reason, run.exit_code = None, "", 0
    _run(pod, life, group, container, run, at_s)


def _start(
    pod: Obj, life: Life, group: str, container: Obj, run: Run, now_s: float, wakes: list[float]
) -> bool:
    """The first start. False: it waits, and `run.waiting` may say why."""
    problem = image_problem(pod, container)
    if problem is not None:
        _pull_fails(life, group, container, run, problem, now_s, wakes)
        return False
    config = life.config_errors.get(container["name"])
    if config is not None:
        if run.waiting is None or run.waiting[1] != config:
            life.note("Warning", "Failed", f"Error: {config}", field_path(group, container))
        run.waiting = ("CreateContainerConfigError", config)
        return False
    run.waiting = None
    takes_s = life.plan(pod, container).start_s
    if takes_s and not run.again_s:
        run.again_s = now_s + takes_s
    if run.again_s > now_s:
        wakes.append(run.again_s)
        return False
    _run(pod, life, group, container, run, max(run.again_s, 0.0) or now_s)
    return True


def _run(pod: Obj, life: Life, group: str, container: Obj, run: Run, at_s: float) -> None:
    image = container.get("image", "")
    run.started_s, run.image, run.resources = at_s, image, container.get("resources") or {}
    run.again_s, run.waiting, run.unhealthy = 0.0, None, {}
    where = field_path(group, container)
    if container.get("imagePullPolicy") == "Always":
        life.note("Normal", "Pulling", f'Pulling image "{image}"', where)
        pulled = f'Successfully pulled image "{image}" in 0s (0s including waiting). Image size: 0 bytes.'
    else:
        pulled = f'Container image "{image}" already present on machine and can be accessed by the pod'
    life.note("Normal", "Pulled", pulled, where)
    life.note("Normal", "Created", "Container created", where)
    life.note("Normal", "Started", "Container started", where)


_PROBES = {"startupProbe", "livenessProbe", "readinessProbe"}


def _tell_unhealthy(
    life: Life, container: Obj, run: Run, does: Plan, where: str, now_s: float, wakes: list[float]
) -> None:
    """Say that probes which plainly fail do so, when they are tried. As often as they may fail, no more: after that
    nothing changes, and nobody has to wake up for it."""
    assert run.started_s is not None
    for name in sorted(_PROBES & container.keys()):
        probe = container[name]
        if not plainly_fails(probe) or (name != "startupProbe" and does.started_after_s >= NEVER):
            continue
        kind = name.removesuffix("Probe")
        period_s = probe.get("periodSeconds", 10)
        told = run.unhealthy.get(kind, 0)
        passed_s = 0.0 if kind == "startup" else does.started_after_s
        first_s = run.started_s + max(probe.get("initialDelaySeconds", 0), passed_s)
        while told < probe.get("failureThreshold", 3) and first_s + told * period_s <= now_s:
            life.note("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: ", where)
            told += 1
        run.unhealthy[kind] = told
        if told < probe.get("failureThreshold", 3):
            wakes.append(first_s + told * period_s)


def _tell_killed(life: Life, container: Obj, probe: str, where: str) -> None:
    text = f"Container {container['name']} failed {probe} probe, will be restarted"
    life.note("Normal", "Killing", text, where)


def _pull_fails(
    life: Life, group: str, container: Obj, run: Run, problem: ImageProblem, now_s: float, wakes: list[float]
) -> None:
    """The image cannot be had: tell so, and when it is asked for again."""
    where, image = field_path(group, container), container.get("image", "")
    if problem.reason in (INVALID_IMAGE_NAME, ERR_IMAGE_NEVER_PULL):
        if run.waiting != tuple(problem):
            reason = "InspectFailed" if problem.reason == INVALID_IMAGE_NAME else ERR_IMAGE_NEVER_PULL
            life.note("Warning", reason, problem.message, where)
            life.note("Warning", "Failed", f"Error: {problem.reason}", where)
        run.waiting = (problem.reason, problem.message)
        return
    if now_s >= run.again_s:
        delay_s = min(BACKOFF_S_MIN * 2.0 ** min(run.pulls, 16), BACKOFF_S_MAX)
        run.pulls, run.pulled_s, run.again_s = run.pulls + 1, now_s, now_s + delay_s
        run.waiting = (ERR_IMAGE_PULL, problem.message)
        life.note("Normal", "Pulling", f'Pulling image "{image}"', where)
        life.note("Warning", "Failed", f'Failed to pull image "{image}": {problem.message}', where)
        life.note("Warning", "Failed", f"Error: {ERR_IMAGE_PULL}", where)
    elif now_s >= run.pulled_s + PULL_ERROR_SHOWN_S:
        text = f'Back-off pulling image "{image}"'
        if run.waiting is None or run.waiting[0] == ERR_IMAGE_PULL:
            life.note("Normal", "BackOff", text, where)
            life.note("Warning", "Failed", "Error: ImagePullBackOff", where)
        run.waiting = ("ImagePullBackOff", f"{text}: {ERR_IMAGE_PULL}: {problem.message}")
    shown_s = run.pulled_s + PULL_ERROR_SHOWN_S
    wakes.append(shown_s if now_s < shown_s else run.again_s)


def is_ready(pod: Obj, life: Life, group: str, container: Obj, now_s: float) -> bool:
    """`ready` of a container's status."""
    run = life.run(container["name"])
    if group == "initContainers" and not is_sidecar(container):
        return run.over and run.exit_code == 0
    if not run.running or group == "ephemeralContainers":
        return False
    assert run.started_s is not None
    does = life.plan(pod, container)
    if life.kill_s is not None and does.ready_after_s >= NEVER:
        return False
    return now_s >= run.started_s + does.ready_after_s


def is_started(pod: Obj, life: Life, container: Obj, now_s: float) -> bool:
    """`started` of a container's status: it runs, and its startup probe has passed."""
    run = life.run(container["name"])
    if not run.running:
        return False
    assert run.started_s is not None
    return now_s >= run.started_s + life.plan(pod, container).started_after_s
