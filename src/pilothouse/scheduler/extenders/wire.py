"""What passes between the scheduler and an extender (k8s.io/kube-scheduler/extender/v1 types.go).

The types have no JSON tags: names are sent in capitals, and read in any case, as Go's decoder does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pilothouse.api.types import Obj
from pilothouse.scheduler.pod_info import PodInfo


class ExtenderError(ConnectionError):
    """An extender could not be asked, or answered with an error or with nonsense."""


class Filtered(NamedTuple):
    """The names of nodes that an extender lets through, and why not others; for `unresolvable` ones no eviction would
    help."""

    passed: list[str]
    failed: Mapping[str, str]
    unresolvable: Mapping[str, str]


class Victims(NamedTuple):
    uids: tuple[str, ...]
    violations: int


def arguments(pod: Obj, nodes: Sequence[Obj], *, names_only: bool) -> Obj:
    """ExtenderArgs, for filter and prioritize."""
    names = [node["metadata"]["name"] for node in nodes]
    listed = None if names_only else {"metadata": {}, "items": list(nodes)}
    return {"Pod": pod, "Nodes": listed, "NodeNames": names if names_only else None}


def filtered(answer: Any, asked: Iterable[str], extender: str, *, names_only: bool) -> Filtered:
    """ExtenderFilterResult. ExtenderError."""
    found = _object(answer)
    if found.get("error"):
        raise ExtenderError(str(found["error"]))
    names: list[str] = []
    if names_only and found.get("nodenames") is not None:
        names = list(found["nodenames"])
    elif found.get("nodes") is not None:
        names = [node["metadata"]["name"] for node in _object(found["nodes"]).get("items") or ()]
    known = set(asked)
    for name in names:
        if name not in known:
            raise ExtenderError(
                f'extender "{extender}" claims a filtered node "{name}" which is not found in the input node list'
            )
    return Filtered(names, found.get("failednodes") or {}, found.get("failedandunresolvablenodes") or {})


def scores(answer: Any) -> dict[str, int]:
    """HostPriorityList: from 0 to 10 by node."""
    entries = [_object(entry) for entry in answer or ()]
    return {entry["host"]: int(entry.get("score") or 0) for entry in entries}


def preemption(pod: Obj, victims: Mapping[str, tuple[Sequence[PodInfo], int]], *, names_only: bool) -> Obj:
    """ExtenderPreemptionArgs: whom it would cost on each node, and how many budgets it would break."""
    whole, brief = None, None
    if names_only:
        brief = {
            node: {"Pods": [{"UID": info.uid} for info in pods], "NumPDBViolations": broken}
            for node, (pods, broken) in victims.items()
        }
    else:
        whole = {
            node: {"Pods": [info.pod for info in pods], "NumPDBViolations": broken}
            for node, (pods, broken) in victims.items()
        }
    return {"Pod": pod, "NodeNameToVictims": whole, "NodeNameToMetaVictims": brief}


def preempted(answer: Any) -> dict[str, Victims]:
    """ExtenderPreemptionResult: always by UIDs."""
    found: dict[str, Victims] = {}
    for node, given in (_object(answer).get("nodenametometavictims") or {}).items():
        entry = _object(given or {})
        uids = tuple(_object(pod)["uid"] for pod in entry.get("pods") or ())
        found[node] = Victims(uids, entry.get("numpdbviolations") or 0)
    return found


def binding(info: PodInfo, node: str) -> Obj:
    """ExtenderBindingArgs."""
    return {"PodName": info.name, "PodNamespace": info.namespace, "PodUID": info.uid, "Node": node}


def bound(answer: Any) -> None:
    """ExtenderBindingResult. ExtenderError when it did not bind."""
    error = _object(answer).get("error")
    if error:
        raise ExtenderError(str(error))


def _object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ExtenderError(f"an extender answered with no object: {str(value)[:100]}")
    return {str(key).lower(): item for key, item in value.items()}
