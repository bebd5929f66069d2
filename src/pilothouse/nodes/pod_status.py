"""A pod's status as its kubelet writes it (pkg/kubelet/kubelet_pods.go, pkg/kubelet/status/generate.go). Pure.

A condition whose status did not change keeps its time, so that a status that says the same is the same.
"""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.kit.world import timestamp
from pilothouse.nodes import containers, pod_lifecycle
from pilothouse.nodes.container_status import container_status
from pilothouse.nodes.life import TERMINAL, Life, is_sidecar

_OWNED = (
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersReady",
    "Ready",
    "PodResizePending",
    "PodResizeInProgress",
)


def status(pod: Obj, life: Life, now_s: float, *, final: bool = False) -> Obj:
    """`final`: the pod is told to end and all its containers have ended."""
    if life.rejected is not None:
        return _rejected(pod, life, now_s)
    spec, meta = pod["spec"], pod["metadata"]
    before = pod.get("status") or {}
    init = spec.get("initContainers") or ()
    main = spec.get("containers") or ()
    made = phase_of(pod, life, now_s, final=final)
    phase = _reported(pod, life, made)
    out: Obj = {
        "observedGeneration": meta.get("generation", 0),
        "phase": phase,
        "conditions": _conditions(pod, life, made, now_s),
        "hostIP": life.host_ip,
        "hostIPs": [{"ip": life.host_ip}],
    }
    if life.deadline_passed and phase == "Failed":
        out["message"], out["reason"] = pod_lifecycle.DEADLINE_TEXT, pod_lifecycle.DEADLINE
    if life.sandbox or before.get("podIP"):
        out["podIP"] = life.ip
        out["podIPs"] = [{"ip": life.ip}]
    out["startTime"] = timestamp(life.started_s)
    if init:
        out["initContainerStatuses"] = [
            container_status(pod, life, "initContainers", c, phase, now_s) for c in init
        ]
    statuses = [container_status(pod, life, "containers", c, phase, now_s) for c in main]
    out["containerStatuses"] = sorted(statuses, key=_name) if len(statuses) > 1 else statuses
    ephemeral = spec.get("ephemeralContainers")
    if ephemeral:
        out["ephemeralContainerStatuses"] = [
            container_status(pod, life, "ephemeralContainers", c, phase, now_s) for c in ephemeral
        ]
    out["qosClass"] = before.get("qosClass", "BestEffort")
    return out


def _name(entry: Obj) -> str:
    return str(entry["name"])


def _rejected(pod: Obj, life: Life, now_s: float) -> Obj:
    """kubelet's rejectPod."""
    assert life.rejected is not None
    reason, message = life.rejected
    before = pod.get("status") or {}
    return {
        "observedGeneration": pod["metadata"].get("generation", 0),
        "phase": "Failed",
        "reason": reason,
        "message": f"Pod was rejected: {message}",
        "startTime": timestamp(life.started_s),
        "qosClass": before.get("qosClass", "BestEffort"),
    }


def _reported(pod: Obj, life: Life, made: str) -> str:
    """A pod is not told to be over while something of it runs (status manager's mergePodStatus)."""
    if made in TERMINAL and pod_lifecycle.has_running(life):
        before = (pod.get("status") or {}).get("phase")
        return str(before or "Pending")
    return made


def phase_of(pod: Obj, life: Life, now_s: float, *, final: bool) -> str:
    """kubelet's getPhase, and what its callers make of it."""
    before = (pod.get("status") or {}).get("phase", "Pending")
    if before in TERMINAL:
        return str(before)
    if life.deadline_passed:
        return "Failed"
    found = _phase_of_containers(pod, life, now_s, final=final)
    # Told to end and all has ended: a pod that did not finish has failed (status manager's TerminatePod).
    return "Failed" if final and found not in TERMINAL else found


def _phase_of_containers(pod: Obj, life: Life, now_s: float, *, final: bool) -> str:
    spec = pod["spec"]
    main = spec.get("containers") or ()
    runs = [life.run(c["name"]) for c in main]
    pending, sidecars = False, 0
    for container in spec.get("initContainers") or ():
        run = life.run(container["name"])
        if is_sidecar(container):
            sidecars += run.running
            if run.running or not run.over:
                # Sidecars that start again don't take a pod back whose containers have run.
                started = containers.is_started(pod, life, container, now_s)
                pending = pending or not (started or any(r.running for r in runs))
        elif run.over:
            if run.exit_code and not containers.restarts(pod, "initContainers", container, run.exit_code):
                return "Failed"
        else:
            pending = True
    if pending or any(run.started_s is None for run in runs):
        return "Pending"
    if sidecars or any(run.running for run in runs):
        return "Running"
    again = any(
        containers.restarts(pod, "containers", container, run.exit_code)
        for container, run in zip(main, runs, strict=True)
    )
    if again and not final:
        return "Running"
    return "Failed" if any(run.exit_code for run in runs) else "Succeeded"


def _conditions(pod: Obj, life: Life, phase: str, now_s: float) -> list[Obj]:
    """Those of a kubelet in their order, then those of others, PodScheduled last."""
    before = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    over = phase in TERMINAL
    initialized, why_not_initialized = _initialized(pod, life, phase, now_s)
    ready, why_not_ready = _containers_ready(pod, life, phase, now_s)
    gates = _closed_gates(pod, before) if ready else []
    why_not_all = why_not_ready
    if gates:
        why_not_all = {"reason": "ReadinessGatesNotReady", "message": ", ".join(gates)}
    sandbox = life.sandbox and not over
    out = [
        _condition(pod, before, "PodReadyToStartContainers", sandbox, {}, now_s),
        _condition(pod, before, "Initialized", initialized, why_not_initialized, now_s),
        _condition(pod, before, "ContainersReady", ready, why_not_ready, now_s),
        _condition(pod, before, "Ready", ready and not gates, why_not_all, now_s),
    ]
    if life.resize is not None:
        reason, message = life.resize
        more = {"reason": reason, "message": message}
        out.append(_condition(pod, before, "PodResizePending", True, more, now_s))
    others = [c for kind, c in before.items() if kind not in _OWNED and kind != "PodScheduled"]
    scheduled = [before["PodScheduled"]] if "PodScheduled" in before else []
    return out + others + scheduled


def _condition(pod: Obj, before: dict[str, Obj], kind: str, value: bool, more: Obj, now_s: float) -> Obj:
    text = "True" if value else "False"
    old = before.get(kind)
    same = old is not None and old.get("status") == text and old.get("lastTransitionTime")
    out: Obj = {"type": kind}
    generation = pod["metadata"].get("generation", 0)
    if generation:
        out["observedGeneration"] = generation
    out["status"] = text
    out["lastProbeTime"] = None
    out["lastTransitionTime"] = old["lastTransitionTime"] if same and old else timestamp(now_s)
    out.update(more)
    return out


def _initialized(pod: Obj, life: Life, phase: str, now_s: float) -> tuple[bool, Obj]:
    """GeneratePodInitializedCondition."""
    init = pod["spec"].get("initContainers") or ()
    if phase == "Succeeded":
        return True, {"reason": "PodCompleted"}
    if any(life.run(c["name"]).started_s is not None for c in pod["spec"].get("containers") or ()):
        return True, {}
    left = [c["name"] for c in init if not _is_initialized(pod, life, c, now_s)]
    if not left:
        return True, {}
    return False, {
        "reason": "ContainersNotInitialized",
        "message": f"containers with incomplete status: [{' '.join(left)}]",
    }


def _is_initialized(pod: Obj, life: Life, container: Obj, now_s: float) -> bool:
    if is_sidecar(container):
        return containers.is_started(pod, life, container, now_s)
    return pod_lifecycle.is_past(pod, life, container, now_s)


def _containers_ready(pod: Obj, life: Life, phase: str, now_s: float) -> tuple[bool, Obj]:
    """GenerateContainersReadyCondition."""
    if phase == "Succeeded":
        return False, {"reason": "PodCompleted"}
    if phase == "Failed":
        return False, {"reason": "PodFailed"}
    sidecars = [c for c in pod["spec"].get("initContainers") or () if is_sidecar(c)]
    unready = [c["name"] for c in sidecars if not containers.is_ready(pod, life, "initContainers", c, now_s)]
    unready += [
        c["name"]
        for c in pod["spec"].get("containers") or ()
        if not containers.is_ready(pod, life, "containers", c, now_s)
    ]
    if not unready:
        return True, {}
    return False, {
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{' '.join(unready)}]",
    }


def _closed_gates(pod: Obj, before: dict[str, Obj]) -> list[str]:
    """Why the pod's readiness gates hold it back, one sentence each."""
    out = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        found = before.get(kind)
        if found is None:
            out.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif found["status"] != "True":
            out.append(f'the status of pod readiness gate "{kind}" is not "True", but {found["status"]}')
    return out
