"""One container's status as its kubelet writes it (kubelet_pods.go convertToAPIContainerStatuses). Pure."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.kit.world import timestamp
from pilothouse.nodes import containers, images
from pilothouse.nodes.life import TERMINAL, Life, Run, container_id, is_sidecar, terminated

_LOST = {
    "exitCode": 137,
    "reason": "ContainerStatusUnknown",
    "message": "The container could not be located when the pod was terminated",
    "startedAt": None,
    "finishedAt": None,
}
"""Of a container that never started when its pod is over (status manager's TerminatePod)."""


def container_status(pod: Obj, life: Life, group: str, container: Obj, phase: str, now_s: float) -> Obj:
    name, image = container["name"], container.get("image", "")
    run = life.run(name)
    backing_off = _is_backing_off(pod, group, container, run, phase, now_s)
    last = terminated(pod, name, run) if backing_off else run.last
    out: Obj = {
        "name": name,
        "state": _state(pod, life, group, container, run, phase, backing_off),
        "lastState": {"terminated": last} if last else {},
        "ready": containers.is_ready(pod, life, group, container, now_s),
        "restartCount": run.restarts,
        "image": image,
        "imageID": "",
    }
    if group != "ephemeralContainers":
        out["started"] = containers.is_started(pod, life, container, now_s)
    if run.started_s is None:
        return out
    out["image"] = run.image or image
    out["imageID"] = images.image_id(out["image"])
    out["containerID"] = container_id(pod, name, run.restarts)
    resources = run.resources or {}
    if group != "ephemeralContainers":
        if resources.get("requests"):
            out["allocatedResources"] = resources["requests"]
        out["resources"] = resources
    mounts = container.get("volumeMounts")
    if mounts:
        out["volumeMounts"] = [_mount(m) for m in mounts]
    out["user"] = {"linux": _user(pod, container)}
    return out


def _is_backing_off(pod: Obj, group: str, container: Obj, run: Run, phase: str, now_s: float) -> bool:
    return (
        run.over
        and phase not in TERMINAL
        and not pod["metadata"].get("deletionTimestamp")
        and containers.restarts(pod, group, container, run.exit_code)
        and run.again_s > now_s
    )


def _state(pod: Obj, life: Life, group: str, container: Obj, run: Run, phase: str, backing_off: bool) -> Obj:
    if run.running:
        assert run.started_s is not None
        return {"running": {"startedAt": timestamp(run.started_s)}}
    if backing_off:
        text = (
            f"back-off {_go_duration(run.backoff_s)} restarting failed container={container['name']} "
            f"pod={containers.pod_text(pod)}"
        )
        return {"waiting": {"reason": "CrashLoopBackOff", "message": text}}
    if run.over:
        return {"terminated": terminated(pod, container["name"], run)}
    if phase in TERMINAL and group == "containers" and _has_initialized(pod, life):
        return {"terminated": dict(_LOST)}
    if run.waiting is not None:
        return {"waiting": {"reason": run.waiting[0], "message": run.waiting[1]}}
    first = not pod["spec"].get("initContainers") or group == "ephemeralContainers"
    return {"waiting": {"reason": "ContainerCreating" if first else "PodInitializing"}}


def _has_initialized(pod: Obj, life: Life) -> bool:
    """status manager's hasPodInitialized."""
    spec = pod["spec"]
    init = spec.get("initContainers")
    if not init or any(life.run(c["name"]).started_s is not None for c in spec.get("containers") or ()):
        return True
    last, run = init[-1], life.run(init[-1]["name"])
    if is_sidecar(last):
        return run.started_s is not None
    return run.over and run.exit_code == 0


def _go_duration(seconds: float) -> str:
    """Go's time.Duration for whole seconds: 10s, 1m20s, 5m0s."""
    minutes, left = divmod(int(seconds), 60)
    return f"{minutes}m{left}s" if minutes else f"{left}s"


def _mount(mount: Obj) -> Obj:
    out: Obj = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        asked = mount.get("recursiveReadOnly")
        out["readOnly"] = True
        out["recursiveReadOnly"] = "Enabled" if asked in ("Enabled", "IfPossible") else "Disabled"
    return out


def _user(pod: Obj, container: Obj) -> Obj:
    """Who the first process runs as: root of its image, unless a security context says otherwise."""
    whole: dict[str, Any] = pod["spec"].get("securityContext") or {}
    own: dict[str, Any] = container.get("securityContext") or {}
    uid = own.get("runAsUser", whole.get("runAsUser", 0))
    gid = own.get("runAsGroup", whole.get("runAsGroup", 0))
    more = list(whole.get("supplementalGroups") or ())
    if "fsGroup" in whole:
        more.append(whole["fsGroup"])
    return {"uid": uid, "gid": gid, "supplementalGroups": list(dict.fromkeys([gid, *more]))}
