"""Where a daemon set's pods belong and which must go. Pure functions: they read objects and decide.

Rules: k8s.io/kubernetes/pkg/controller/daemon (daemon_controller.go, update.go, util) and
https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pilothouse.api import node_selector, taints
from pilothouse.api.types import Obj
from pilothouse.controllers.deployment_rules import resolve
from pilothouse.controllers.pods import is_available, is_ready, is_terminal, is_terminating
from pilothouse.controllers.revisions import NAME_LABEL

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
_NAME_FIELD = "metadata.name"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

ByNode = dict[str, list[Obj]]


def _toleration(key: str, effect: str) -> Obj:
    return {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": effect}


_TOLERATED = tuple(
    _toleration(key, effect)
    for key, effect in (
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    )
)
_TOLERATED_ON_HOST_NETWORK = _toleration("network-unavailable", "NoSchedule")


# -- the pod ------------------------------------------------------------------------------------------------


def daemon_spec(template: Obj) -> Obj:
    """The spec of a daemon's pod: nodes in trouble are tolerated (AddOrUpdateDaemonPodTolerations)."""
    spec = template.get("spec") or {}
    wanted = [*_TOLERATED, *([_TOLERATED_ON_HOST_NETWORK] if spec.get("hostNetwork") else [])]
    present = list(spec.get("tolerations") or ())
    for toleration in wanted:
        same = [i for i, t in enumerate(present) if _identity(t) == _identity(toleration)]
        if same:
            present[same[0]] = toleration
        else:
            present.append(toleration)
    return {**spec, "tolerations": present}


def _identity(toleration: Obj) -> tuple[str, ...]:
    return tuple(toleration.get(name, "") for name in ("key", "operator", "value", "effect"))


def template_for(ds: Obj, digest: str, node: str) -> Obj:
    """The template of the pod for one node (CreatePodTemplate, ReplaceDaemonSetPodNodeNameNodeAffinity)."""
    template = ds["spec"]["template"]
    meta = template.get("metadata") or {}
    labels = {**(meta.get("labels") or {}), NAME_LABEL: digest}
    generation = template_generation(ds)
    if generation is not None:
        labels[GENERATION_LABEL] = str(generation)
    spec = daemon_spec(template)
    spec["affinity"] = bound_to(spec.get("affinity"), node)
    return {**template, "metadata": {**meta, "labels": labels}, "spec": spec}


def bound_to(affinity: Obj | None, node: str) -> Obj:
    """An affinity that admits one node only; what it required before is dropped, as the controller has looked at
    it already."""
    term = {"matchFields": [{"key": _NAME_FIELD, "operator": "In", "values": [node]}]}
    node_affinity = {
        **((affinity or {}).get("nodeAffinity") or {}),
        _REQUIRED: {"nodeSelectorTerms": [term]},
    }
    return {**(affinity or {}), "nodeAffinity": node_affinity}


def target_node(pod: Obj) -> str:
    """The node a daemon's pod is on or meant for; "" when nothing says (GetTargetNodeName)."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(_REQUIRED) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for requirement in term.get("matchFields") or ():
            values = requirement.get("values") or []
            if requirement["key"] == _NAME_FIELD and requirement["operator"] == "In" and len(values) == 1:
                return str(values[0])
    return ""


def template_generation(ds: Obj) -> int | None:
    text = (ds["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "")
    return int(text) if text.isdigit() else None


def is_updated(pod: Obj, ds: Obj, digest: str) -> bool:
    """Made from the present template, by its hash or by its generation."""
    labels = pod["metadata"].get("labels") or {}
    generation = template_generation(ds)
    by_generation = generation is not None and labels.get(GENERATION_LABEL) == str(generation)
    return by_generation or (bool(digest) and labels.get(NAME_LABEL) == digest)


def by_age(pod: Obj) -> tuple[bool, str, str]:
    """Scheduled before waiting, then the oldest first (podByCreationTimestampAndPhase)."""
    meta = pod["metadata"]
    return not pod["spec"].get("nodeName"), meta.get("creationTimestamp") or "", meta["name"]


# -- the nodes ----------------------------------------------------------------------------------------------


class Fit(NamedTuple):
    """Whether a pod should be started on a node, and whether one that runs there may stay."""

    runs: bool
    stays: bool


NOWHERE = Fit(False, False)


def fit(ds: Obj, node: Obj) -> Fit:
    """NodeShouldRunDaemonPod: node name, selector and affinity, taints. A taint that only keeps new pods away lets
    the old one stay."""
    spec = daemon_spec(ds["spec"]["template"])
    if spec.get("nodeName") not in (None, "", node["metadata"]["name"]):
        return NOWHERE
    if not node_selector.matches({"spec": spec}, node):
        return NOWHERE
    found = taints.of_node(node)
    if taints.untolerated({"spec": spec}, found) is None:
        return Fit(True, True)
    return Fit(False, taints.untolerated({"spec": spec}, found, (taints.NO_EXECUTE,)) is None)


def pods_by_node(pods: Iterable[Obj]) -> ByNode:
    """Pods that finished and are being deleted count no more."""
    found: ByNode = {}
    for pod in pods:
        if is_terminal(pod) and is_terminating(pod):
            continue
        node = target_node(pod)
        if node:
            found.setdefault(node, []).append(pod)
    return found


# -- what to do ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Plan:
    """Pods to delete, nodes that need one, and pods that ended (for their events and back-off)."""

    delete: list[Obj] = field(default_factory=list)
    create: list[str] = field(default_factory=list)
    failed: list[tuple[str, Obj]] = field(default_factory=list)
    """(node, pod): to be deleted too, unless the node is still in back-off."""
    succeeded: list[Obj] = field(default_factory=list)


def max_surge(ds: Obj, desired: int) -> int:
    return _rolling(ds, "maxSurge", desired)


def max_unavailable(ds: Obj, desired: int) -> int:
    """Never 0 together with maxSurge, or nothing could move."""
    found = _rolling(ds, "maxUnavailable", desired)
    return 1 if desired > 0 and found == 0 and max_surge(ds, desired) == 0 else found


def _rolling(ds: Obj, name: str, desired: int) -> int:
    strategy = ds["spec"].get("updateStrategy") or {}
    if strategy.get("type") != "RollingUpdate":
        return 0
    return resolve((strategy.get("rollingUpdate") or {}).get(name), desired, up=True)


def allows_surge(ds: Obj) -> bool:
    return max_surge(ds, 100) > 0


def plan(ds: Obj, nodes: Iterable[Obj], by_node: ByNode, digest: str, now_s: float) -> Plan:
    """What is missing and what is too much, node by node (podsShouldBeOnNode)."""
    out = Plan()
    known = set()
    for node in nodes:
        name = node["metadata"]["name"]
        known.add(name)
        verdict = fit(ds, node)
        pods = by_node.get(name, [])
        if verdict.runs and not pods:
            out.create.append(name)
        elif verdict.stays:
            _keep_one(ds, name, pods, verdict.runs, digest, now_s, out)
        else:
            out.delete += [p for p in pods if not is_terminating(p)]
    for name, pods in by_node.items():
        if name not in known:
            out.delete += [p for p in pods if not p["spec"].get("nodeName") and not is_terminating(p)]
    return out


def _keep_one(ds: Obj, node: str, pods: list[Obj], runs: bool, digest: str, now_s: float, out: Plan) -> None:
    running: list[Obj] = []
    for pod in pods:
        phase = (pod.get("status") or {}).get("phase")
        if is_terminating(pod):
            continue
        if phase == "Failed":
            out.failed.append((node, pod))
        elif phase == "Succeeded":
            out.succeeded.append(pod)
        else:
            running.append(pod)
    running.sort(key=by_age)
    if not allows_surge(ds):
        out.delete += running[1:]
    elif not running:
        if runs and pods:
            # The old pod is on its way out; a surging set does not wait for it.
            out.create.append(node)
    elif len(running) > 1:
        _keep_surge(ds, running, digest, now_s, out)


def _keep_surge(ds: Obj, running: list[Obj], digest: str, now_s: float, out: Plan) -> None:
    """Two pods may run while the new one is not available and the old one is ready."""
    is_new = [(p["metadata"].get("labels") or {}).get(NAME_LABEL) == digest for p in running]
    new = [p for p, yes in zip(running, is_new, strict=True) if yes]
    old = [p for p, yes in zip(running, is_new, strict=True) if not yes]
    out.delete += [*new[1:], *old[1:]]
    if new and old:
        min_ready_s = ds["spec"].get("minReadySeconds", 0)
        if not is_ready(old[0]) or is_available(new[0], min_ready_s, now_s):
            out.delete.append(old[0])


class _Pair(NamedTuple):
    """The pods of one node in a rollout; `clear` is False when there are several of a kind."""

    new: Obj | None
    old: Obj | None
    clear: bool


def _pair(ds: Obj, pods: list[Obj], digest: str) -> _Pair:
    alive = [p for p in pods if not is_terminating(p)]
    new = [p for p in alive if is_updated(p, ds, digest)]
    old = [p for p in alive if not is_updated(p, ds, digest)]
    return _Pair(new[0] if new else None, old[0] if old else None, len(new) < 2 and len(old) < 2)


def rolling_plan(ds: Obj, nodes: Mapping[str, Obj], by_node: ByNode, digest: str, now_s: float) -> Plan:
    """The next step of a rolling update: pods to replace, or with maxSurge nodes to start new pods on."""
    wanting = [name for name, node in nodes.items() if fit(ds, node).runs]
    everywhere: ByNode = {**by_node, **{name: [] for name in wanting if name not in by_node}}
    pairs = {name: _pair(ds, pods, digest) for name, pods in everywhere.items()}
    if max_surge(ds, len(wanting)) == 0:
        return _replace(ds, pairs, max_unavailable(ds, len(wanting)), now_s)
    return _surge(ds, nodes, pairs, len(wanting), now_s)


def _replace(ds: Obj, pairs: Mapping[str, _Pair], limit: int, now_s: float) -> Plan:
    """Delete old pods, those that serve nobody first, as long as few enough are unavailable."""
    min_ready_s = ds["spec"].get("minReadySeconds", 0)
    unavailable = 0
    broken: list[Obj] = []
    candidates: list[Obj] = []
    for new, old, clear in pairs.values():
        if not clear or (new is None) == (old is None):
            unavailable += 1
        elif new is not None:
            unavailable += not is_available(new, min_ready_s, now_s)
        elif old is not None and not is_available(old, min_ready_s, now_s):
            broken.append(old)
            unavailable += 1
        elif old is not None and unavailable < limit:
            candidates.append(old)
    return Plan(delete=[*broken, *candidates[: max(limit - unavailable, 0)]])


def _surge(ds: Obj, nodes: Mapping[str, Obj], pairs: Mapping[str, _Pair], desired: int, now_s: float) -> Plan:
    """Start new pods beside old ones; old ones go when their successors are available."""
    min_ready_s = ds["spec"].get("minReadySeconds", 0)
    out = Plan()
    misplaced: list[Obj] = []
    candidates: list[str] = []
    surging = available = 0
    for name, (new, old, clear) in pairs.items():
        if not clear:
            surging += 1
            continue
        counted = old if old is not None else new
        available += counted is not None and is_available(counted, min_ready_s, now_s)
        if old is None:
            continue
        if new is None:
            if name not in nodes or not fit(ds, nodes[name]).runs:
                misplaced.append(old)
            elif is_available(old, min_ready_s, now_s):
                candidates.append(name)
            else:
                out.create.append(name)
        elif not is_available(old, min_ready_s, now_s):
            out.delete.append(old)
        else:
            surging += 1
            if is_available(new, min_ready_s, now_s):
                out.delete.append(old)
    spare = max(available - (desired - max_unavailable(ds, desired)), 0)
    out.delete += misplaced[:spare]
    out.create += candidates[: max(max_surge(ds, desired) - surging, 0)]
    return out


# -- the status ---------------------------------------------------------------------------------------------


def counts(ds: Obj, nodes: Iterable[Obj], by_node: ByNode, digest: str, now_s: float) -> dict[str, Any]:
    """The numbers of the status (updateDaemonSetStatus). Zeros that Go leaves out are there too."""
    found = dict.fromkeys(
        (
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "updatedNumberScheduled",
            "numberAvailable",
        ),
        0,
    )
    min_ready_s = ds["spec"].get("minReadySeconds", 0)
    for node in nodes:
        pods = by_node.get(node["metadata"]["name"], [])
        if not fit(ds, node).runs:
            found["numberMisscheduled"] += bool(pods)
            continue
        found["desiredNumberScheduled"] += 1
        if not pods:
            continue
        pod = min(pods, key=by_age)
        found["currentNumberScheduled"] += 1
        found["numberReady"] += is_ready(pod)
        found["numberAvailable"] += is_available(pod, min_ready_s, now_s)
        found["updatedNumberScheduled"] += is_updated(pod, ds, digest)
    found["numberUnavailable"] = found["desiredNumberScheduled"] - found["numberAvailable"]
    return found


def expendable(old: list[Obj], pods: Iterable[Obj], keep: int) -> list[Obj]:
    """Revisions beyond the history limit that no pod has, oldest first."""
    surplus = len(old) - keep
    if surplus <= 0:
        return []
    live = {(p["metadata"].get("labels") or {}).get(NAME_LABEL) for p in pods}
    dead = [r for r in old if (r["metadata"].get("labels") or {}).get(NAME_LABEL) not in live]
    return sorted(dead, key=lambda r: r["revision"])[:surplus]
