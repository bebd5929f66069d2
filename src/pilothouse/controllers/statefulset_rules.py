"""A stateful set's pods: their names, storage and revisions, and what to do next. Pure functions.

Rules: k8s.io/kubernetes/pkg/controller/statefulset (stateful_set_utils.go, stateful_set_control.go) and
https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/.

A set's pods stand in a row by ordinal. What is not there yet stands in it as a pod without a status:

    start                 start + replicas
      │ db-0  db-1  (db-2) │ db-3  db-4
      └──── replicas ──────┘ condemned
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pilothouse.api.resources import STATEFUL_SETS
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import controller_ref
from pilothouse.controllers.pods import is_available, is_ready, is_terminal, is_terminating, template_pod
from pilothouse.controllers.revisions import NAME_LABEL

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_MEMBER = re.compile(r"(.*)-([0-9]+)")


# -- names --------------------------------------------------------------------------------------------------


def ordinal_of(st: Obj, name: str) -> int:
    """The ordinal in a pod's name; -1 for a pod of another set."""
    match = _MEMBER.fullmatch(name)
    return int(match[2]) if match is not None and match[1] == st["metadata"]["name"] else -1


def start(st: Obj) -> int:
    first: int = (st["spec"].get("ordinals") or {}).get("start", 0)
    return first


def replicas(st: Obj) -> int:
    found: int = st["spec"].get("replicas", 1)
    return found


def in_range(st: Obj, pod: Obj) -> bool:
    return start(st) <= ordinal_of(st, pod["metadata"]["name"]) < start(st) + replicas(st)


def allows_burst(st: Obj) -> bool:
    return bool(st["spec"].get("podManagementPolicy") == "Parallel")


def rolls(st: Obj) -> bool:
    return bool((st["spec"].get("updateStrategy") or {}).get("type") == "RollingUpdate")


def partition(st: Obj) -> int | None:
    rolling = (st["spec"].get("updateStrategy") or {}).get("rollingUpdate")
    return None if rolling is None else int(rolling.get("partition", 0))


# -- pods ---------------------------------------------------------------------------------------------------


def phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def is_created(pod: Obj) -> bool:
    return bool(phase(pod))


def is_running_ready(pod: Obj) -> bool:
    return phase(pod) == "Running" and is_ready(pod)


def is_running_available(pod: Obj, min_ready_s: int, now_s: float) -> bool:
    return phase(pod) == "Running" and is_available(pod, min_ready_s, now_s)


def is_healthy(pod: Obj) -> bool:
    return is_running_ready(pod) and not is_terminating(pod)


def revision_of(pod: Obj) -> str:
    return str((pod["metadata"].get("labels") or {}).get(NAME_LABEL, ""))


def template_of(revision: Obj) -> Obj:
    """The template that a revision restores."""
    return {k: v for k, v in revision["data"]["spec"]["template"].items() if k != "$patch"}


def new_pod(st: Obj, current: Obj, update: Obj, ordinal: int) -> Obj:
    """The pod to make for an ordinal: of the present revision below the partition, else of the new one."""
    revision = current if _wants_current(st, ordinal) else update
    name = f"{st['metadata']['name']}-{ordinal}"
    pod = template_pod(template_of(revision), controller_ref(st, STATEFUL_SETS), st["metadata"]["name"], st)
    labels = {
        **(pod["metadata"].get("labels") or {}),
        **identity_labels(name, ordinal),
        NAME_LABEL: revision["metadata"]["name"],
    }
    pod["metadata"] |= {"name": name, "labels": labels}
    spec = {**pod["spec"], "hostname": name}
    if st["spec"].get("serviceName"):
        spec["subdomain"] = st["spec"]["serviceName"]
    volumes = with_claims(st, ordinal, spec.get("volumes") or [])
    if volumes:
        spec["volumes"] = volumes
    pod["spec"] = spec
    return pod


def _wants_current(st: Obj, ordinal: int) -> bool:
    if not rolls(st):
        return False
    kept = partition(st)
    if kept is None:
        kept = (st.get("status") or {}).get("currentReplicas", 0)
    return ordinal < start(st) + kept


def identity_labels(name: str, ordinal: int) -> dict[str, str]:
    return {POD_NAME_LABEL: name, INDEX_LABEL: str(ordinal)}


def lacks_identity(st: Obj, pod: Obj) -> bool:
    name = pod["metadata"]["name"]
    wanted = identity_labels(name, ordinal_of(st, name))
    return not wanted.items() <= (pod["metadata"].get("labels") or {}).items()


def with_claims(st: Obj, ordinal: int, volumes: list[Obj]) -> list[Obj]:
    """Volumes of a pod: those of the claims first, in place of the template's with the same names."""
    claims = {t["metadata"]["name"]: claim_name(st, t, ordinal) for t in claim_templates(st)}
    mounted = [{"name": n, "persistentVolumeClaim": {"claimName": c}} for n, c in claims.items()]
    return [*mounted, *(v for v in volumes if v["name"] not in claims)]


# -- claims -------------------------------------------------------------------------------------------------


def claim_templates(st: Obj) -> list[Obj]:
    found: list[Obj] = st["spec"].get("volumeClaimTemplates") or []
    return found


def claim_name(st: Obj, template: Obj, ordinal: int) -> str:
    return f"{template['metadata']['name']}-{st['metadata']['name']}-{ordinal}"


def claims(st: Obj, ordinal: int) -> list[Obj]:
    """The claims of an ordinal's pod, as they are made (getPersistentVolumeClaims)."""
    selected = (st["spec"].get("selector") or {}).get("matchLabels") or {}
    found = []
    for template in claim_templates(st):
        meta = {k: v for k, v in template["metadata"].items() if k in ("labels", "annotations", "finalizers")}
        meta["labels"] = {**(meta.get("labels") or {}), **selected}
        meta["name"] = claim_name(st, template, ordinal)
        meta["namespace"] = st["metadata"]["namespace"]
        found.append(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": template["spec"]}
        )
    return found


def claim_owners(st: Obj, pod: Obj, claim: Obj) -> list[Obj]:
    """A claim's owner references as persistentVolumeClaimRetentionPolicy wants them (KEP-1847): the set owns it when
    it goes with the set, the pod when it goes with a pod that is scaled away. A foreign controller is left alone."""
    refs: list[Obj] = claim["metadata"].get("ownerReferences") or []
    ours = {st["metadata"]["uid"], pod["metadata"].get("uid")}
    others = [r for r in refs if r.get("uid") not in ours]
    if any(r.get("controller") for r in others):
        return others
    policy = st["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    with_set, with_pod = policy.get("whenDeleted") == "Delete", policy.get("whenScaled") == "Delete"
    if with_pod and not in_range(st, pod):
        return [*others, _pod_ref(pod)]
    return [*others, controller_ref(st, STATEFUL_SETS)] if with_set else others


def _pod_ref(pod: Obj) -> Obj:
    meta = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_stale(claim: Obj, pod_name: str) -> bool:
    """Owned by an earlier pod of this name: it is about to go, and the new pod must not get it."""
    return any(
        r["kind"] == "Pod" and r["name"] == pod_name for r in claim["metadata"].get("ownerReferences") or ()
    )


# -- what to do ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Row:
    """The set's pods by ordinal (`replicas`, placeholders among them) and those beyond it, highest first."""

    replicas: list[Obj]
    condemned: list[Obj]

    @property
    def first_unhealthy(self) -> Obj | None:
        for pod in (*self.replicas, *reversed(self.condemned)):
            if not is_healthy(pod):
                return pod
        return None


def row(st: Obj, pods: Iterable[Obj], current: Obj, update: Obj) -> Row:
    by_ordinal = {ordinal_of(st, p["metadata"]["name"]): p for p in pods}
    by_ordinal.pop(-1, None)
    wanted = range(start(st), start(st) + replicas(st))
    here = [by_ordinal.get(n) or new_pod(st, current, update, n) for n in wanted]
    return Row(here, [by_ordinal[n] for n in sorted(by_ordinal, reverse=True) if n not in wanted])


def is_blocking(st: Obj, pod: Obj, now_s: float) -> bool:
    """In order: whoever comes after this pod waits for it."""
    min_ready_s = st["spec"].get("minReadySeconds", 0)
    return is_terminating(pod) or not is_running_available(pod, min_ready_s, now_s)


def may_go(st: Obj, pod: Obj, first_unhealthy: Obj | None, now_s: float) -> bool:
    """Scaling down waits for sick pods, unless it is the sick one's turn."""
    if allows_burst(st) or pod is first_unhealthy:
        return True
    return is_running_available(pod, st["spec"].get("minReadySeconds", 0), now_s)


def outdated(st: Obj, pods: list[Obj], update: str) -> Obj | None:
    """The next pod to replace, from the highest ordinal down to the partition; None while one is on its way."""
    lowest = partition(st) or 0
    for index in range(len(pods) - 1, lowest - 1, -1):
        pod = pods[index]
        if revision_of(pod) != update and not is_terminating(pod):
            return pod
        if not is_healthy(pod):
            return None
    return None


def has_ended(pod: Obj) -> bool:
    return is_terminal(pod)


# -- status -------------------------------------------------------------------------------------------------


def counts(st: Obj, pods: Iterable[Obj], current: str, update: str, now_s: float) -> dict[str, int]:
    names = ("replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas")
    found = dict.fromkeys(names, 0)
    min_ready_s = st["spec"].get("minReadySeconds", 0)
    for pod in pods:
        found["replicas"] += is_created(pod)
        if is_running_ready(pod):
            found["readyReplicas"] += 1
            found["availableReplicas"] += is_available(pod, min_ready_s, now_s)
        if is_created(pod) and not is_terminating(pod):
            found["currentReplicas"] += revision_of(pod) == current
            found["updatedReplicas"] += revision_of(pod) == update
    return found


def completed(st: Obj, status: Obj) -> Obj:
    """When all pods have the new revision it becomes the present one (completeRollingUpdate)."""
    wanted = replicas(st)
    done = all(status[name] == wanted for name in ("updatedReplicas", "readyReplicas", "replicas"))
    if not rolls(st) or not done:
        return status
    return {
        **status,
        "currentReplicas": status["updatedReplicas"],
        "currentRevision": status["updateRevision"],
    }


def significant(status: Obj) -> dict[str, Any]:
    return {k: v for k, v in status.items() if v}


def expendable(revisions: list[Obj], live: set[str], keep: int) -> list[Obj]:
    """Revisions that nothing uses, beyond the history limit, oldest first; `revisions` are in order."""
    history = [r for r in revisions if r["metadata"]["name"] not in live]
    return history[: max(len(history) - keep, 0)]
