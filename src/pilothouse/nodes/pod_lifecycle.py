"""What a kubelet reports of a pod: a pure function of the pod, its past and the time.

    bound ──images──▶ init containers in order ──▶ containers ──▶ Running, Ready ──told to end──▶ gone
                │                  │                    └─ all ended, not restarted ─▶ Succeeded | Failed
                └─ cannot be had ──┴─▶ Pending, waiting with a reason

`Life` holds what the status alone does not say (when each container started); a pod that a new process finds is
picked up from its status.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pilothouse.api.types import Obj
from pilothouse.kit.world import timestamp
from pilothouse.nodes.behaviour import Plan, image_problem, plan

CRASH_BACKOFF_S_MIN = 10.0
CRASH_BACKOFF_S_MAX = 300.0


@dataclass(slots=True)
class _Run:
    """One container's present run. `started_s` None: waiting; `ended_s` None: running."""

    started_s: float | None = None
    ended_s: float | None = None
    exit_code: int = 0
    restarts: int = 0
    again_s: float = 0.0
    """When a crashed container starts again."""
    last: Obj | None = None


@dataclass(slots=True)
class Life:
    """A pod's life on its node."""

    ip: str
    host_ip: str
    started_s: float
    runs: dict[str, _Run] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    since: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Per condition: its status and since when."""
    ended: bool = False

    def run(self, name: str) -> _Run:
        return self.runs.setdefault(name, _Run())

    def plan(self, pod: Obj, container: Obj) -> Plan:
        name = container["name"]
        found = self.plans.get(name)
        if found is None:
            found = self.plans[name] = plan(pod, container)
        return found


def advance(pod: Obj, life: Life, now_s: float) -> float | None:
    """Bring the runs to `now_s`; when to look again, None when nothing is to come."""
    spec = pod["spec"]
    if life.ended:
        return None
    deadline = spec.get("activeDeadlineSeconds")
    wakes: list[float] = []
    if deadline is not None:
        if now_s >= life.started_s + deadline:
            _end_all(life, now_s)
            return None
        wakes.append(life.started_s + deadline)
    if _advance_init(pod, life, now_s, wakes):
        for container in spec.get("containers") or ():
            _advance_one(pod, life, container, spec["restartPolicy"], now_s, wakes)
        _check_end(pod, life)
    return min(wakes) if wakes else None


def _advance_init(pod: Obj, life: Life, now_s: float, wakes: list[float]) -> bool:
    """True when the main containers may start."""
    for container in pod["spec"].get("initContainers") or ():
        sidecar = container.get("restartPolicy") == "Always"
        policy = (
            "Always" if sidecar else ("Never" if pod["spec"]["restartPolicy"] == "Never" else "OnFailure")
        )
        _advance_one(pod, life, container, policy, now_s, wakes)
        run = life.run(container["name"])
        if sidecar:
            if run.started_s is None:
                return False
            continue
        if run.ended_s is None or run.exit_code:
            if run.ended_s is not None and policy == "Never":
                life.ended = True
            return False
    return True


def _advance_one(pod: Obj, life: Life, container: Obj, policy: str, now_s: float, wakes: list[float]) -> None:
    run, does = life.run(container["name"]), life.plan(pod, container)
    if image_problem(pod, container.get("image", "")):
        return
    if run.started_s is None:
        run.started_s = now_s
    while True:
        if run.ended_s is None and does.run_s is not None and now_s >= run.started_s + does.run_s:
            run.ended_s, run.exit_code = run.started_s + does.run_s, does.exit_code
            run.again_s = run.ended_s + _backoff(run.restarts)
        if run.ended_s is None:
            if does.run_s is not None:
                wakes.append(run.started_s + does.run_s)
            if does.ready_after_s and now_s < run.started_s + does.ready_after_s:
                wakes.append(run.started_s + does.ready_after_s)
            return
        if policy == "Never" or (policy == "OnFailure" and not run.exit_code):
            return
        if now_s < run.again_s:
            wakes.append(run.again_s)
            return
        run.last = _terminated(run, container)
        run.restarts += 1
        run.started_s, run.ended_s = run.again_s, None


def _backoff(restarts: int) -> float:
    """The first restart is at once, then 10 s, 20 s, … 300 s."""
    if not restarts:
        return 0.0
    return min(CRASH_BACKOFF_S_MIN * 2.0 ** (restarts - 1), CRASH_BACKOFF_S_MAX)


def _end_all(life: Life, now_s: float) -> None:
    for run in life.runs.values():
        if run.started_s is not None and run.ended_s is None:
            run.ended_s, run.exit_code = now_s, 137
    life.ended = True


def _check_end(pod: Obj, life: Life) -> None:
    policy = pod["spec"]["restartPolicy"]
    if policy == "Always":
        return
    runs = [life.run(c["name"]) for c in pod["spec"].get("containers") or ()]
    done = all(r.ended_s is not None for r in runs)
    if done and (policy == "Never" or all(not r.exit_code for r in runs)):
        life.ended = True


# -- the status -----------------------------------------------------------------------------------------


def status(pod: Obj, life: Life, now_s: float) -> Obj:
    """The pod's status as its kubelet writes it."""
    spec = pod["spec"]
    old = pod.get("status") or {}
    init = [c for c in spec.get("initContainers") or ()]
    main = [c for c in spec.get("containers") or ()]
    phase = _phase(pod, life, init, main, now_s)
    over = phase in ("Succeeded", "Failed")
    initialized = all(_is_initialized(life, c) for c in init)
    ready = not over and initialized and all(_is_ready(pod, life, c, now_s) for c in main)
    unready = [c["name"] for c in main if not _is_ready(pod, life, c, now_s)]
    out: Obj = {
        "observedGeneration": pod["metadata"].get("generation", 0),
        "phase": phase,
        "conditions": _conditions(pod, life, phase, initialized, ready, unready, now_s),
        "hostIP": life.host_ip,
        "hostIPs": [{"ip": life.host_ip}],
        "startTime": timestamp(life.started_s),
        "containerStatuses": [_container_status(pod, life, c, initialized, now_s) for c in main],
        "qosClass": old.get("qosClass", "BestEffort"),
    }
    if any(r.started_s is not None for r in life.runs.values()):
        out["podIP"] = life.ip
        out["podIPs"] = [{"ip": life.ip}]
    if init:
        out["initContainerStatuses"] = [_container_status(pod, life, c, True, now_s) for c in init]
    if phase == "Failed" and _deadline_passed(pod, life, now_s):
        out["reason"] = "DeadlineExceeded"
        out["message"] = "Pod was active on the node longer than the specified deadline"
    return out


def _deadline_passed(pod: Obj, life: Life, now_s: float) -> bool:
    deadline = pod["spec"].get("activeDeadlineSeconds")
    return deadline is not None and now_s >= life.started_s + deadline


def _phase(pod: Obj, life: Life, init: list[Obj], main: list[Obj], now_s: float) -> str:
    old = (pod.get("status") or {}).get("phase", "Pending")
    if old in ("Succeeded", "Failed"):
        return str(old)
    if life.ended:
        runs = [
            life.run(c["name"]) for c in (*main, *[i for i in init if i.get("restartPolicy") != "Always"])
        ]
        failed = any(r.exit_code or r.ended_s is None for r in runs) or _deadline_passed(pod, life, now_s)
        return "Failed" if failed else "Succeeded"
    started = all(life.run(c["name"]).started_s is not None for c in main)
    return "Running" if started and all(_is_initialized(life, c) for c in init) else "Pending"


def _is_initialized(life: Life, container: Obj) -> bool:
    run = life.run(container["name"])
    if container.get("restartPolicy") == "Always":
        return run.started_s is not None
    return run.ended_s is not None and not run.exit_code


def _is_ready(pod: Obj, life: Life, container: Obj, now_s: float) -> bool:
    run = life.run(container["name"])
    if run.started_s is None or run.ended_s is not None:
        return False
    return now_s >= run.started_s + life.plan(pod, container).ready_after_s


def _conditions(
    pod: Obj, life: Life, phase: str, initialized: bool, ready: bool, unready: list[str], now_s: float
) -> list[Obj]:
    """kubelet's conditions in its order, then those of others, PodScheduled last."""
    generation = pod["metadata"].get("generation", 0)
    over = phase in ("Succeeded", "Failed")
    started = any(r.started_s is not None for r in life.runs.values())
    why: dict[str, str] = {}
    if unready and not over:
        why = {
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{' '.join(unready)}]",
        }
    elif phase == "Succeeded":
        why = {"reason": "PodCompleted"}
    elif phase == "Failed":
        why = {"reason": "PodFailed"}
    not_initialized: dict[str, str] = {}
    if not initialized:
        names = [c["name"] for c in pod["spec"].get("initContainers") or () if not _is_initialized(life, c)]
        not_initialized = {
            "reason": "ContainersNotInitialized",
            "message": f"containers with incomplete status: [{' '.join(names)}]",
        }
    wanted = [
        ("PodReadyToStartContainers", started and not over, {}),
        (
            "Initialized",
            initialized,
            not_initialized or ({"reason": "PodCompleted"} if phase == "Succeeded" else {}),
        ),
        ("ContainersReady", ready, why if not ready else {}),
        ("Ready", ready and _gates_open(pod), why if not ready else {}),
    ]
    mine = {kind for kind, _, _ in wanted}
    out = [_condition(life, kind, value, more, generation, now_s) for kind, value, more in wanted]
    others = [c for c in (pod.get("status") or {}).get("conditions") or () if c["type"] not in mine]
    return out + others


def _gates_open(pod: Obj) -> bool:
    conditions = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or ()}
    gates = pod["spec"].get("readinessGates") or ()
    return all(conditions.get(g["conditionType"]) == "True" for g in gates)


def _condition(
    life: Life, kind: str, value: bool, more: dict[str, str], generation: int, now_s: float
) -> Obj:
    text = "True" if value else "False"
    since = life.since.get(kind)
    if since is None or since[0] != text:
        since = life.since[kind] = (text, timestamp(now_s))
    out: Obj = {"type": kind}
    if generation:
        out["observedGeneration"] = generation
    return out | {"status": text, "lastProbeTime": None, "lastTransitionTime": since[1], **more}


def _container_status(pod: Obj, life: Life, container: Obj, may_start: bool, now_s: float) -> Obj:
    name, image = container["name"], container.get("image", "")
    run = life.run(name)
    problem = image_problem(pod, image)
    out: Obj = {
        "name": name,
        "state": _state(run, container, problem, may_start),
        "lastState": {"terminated": run.last} if run.last else {},
        "ready": run.ended_s is not None and not run.exit_code
        if container in (pod["spec"].get("initContainers") or ())
        and container.get("restartPolicy") != "Always"
        else _is_ready(pod, life, container, now_s),
        "restartCount": run.restarts,
        "image": image,
        "imageID": "" if problem else f"simulated://{image}",
        "started": run.started_s is not None and run.ended_s is None,
    }
    if run.started_s is not None:
        out["containerID"] = f"simulated://{pod['metadata']['uid']}/{name}/{run.restarts}"
    if container.get("resources"):
        out["resources"] = container["resources"]
    return out


def _state(run: _Run, container: Obj, problem: str, may_start: bool) -> Obj:
    image = container.get("image", "")
    if problem == "InvalidImageName":
        text = (
            f'Failed to apply default image tag "{image}": '
            f'couldn\'t parse image name "{image}": invalid reference format'
        )
        return {"waiting": {"reason": problem, "message": text}}
    if problem:
        return {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}}
    if run.started_s is None:
        return {"waiting": {"reason": "ContainerCreating" if may_start else "PodInitializing"}}
    if run.ended_s is None:
        return {"running": {"startedAt": timestamp(run.started_s)}}
    if run.restarts and run.again_s > run.ended_s:
        text = f"back-off {int(_backoff(run.restarts))}s restarting failed container={container['name']}"
        return {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
    return {"terminated": _terminated(run, container)}


def _terminated(run: _Run, container: Obj) -> Obj:
    assert run.started_s is not None and run.ended_s is not None
    return {
        "exitCode": run.exit_code,
        "reason": "Error" if run.exit_code else "Completed",
        "startedAt": timestamp(run.started_s),
        "finishedAt": timestamp(run.ended_s),
    }
