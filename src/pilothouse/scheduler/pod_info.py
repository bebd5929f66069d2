"""What the scheduler needs to know of a pod, worked out once per version of it (framework.PodInfo)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from pilothouse.api.pod_requests import Port, allotted, host_ports, pod_requests
from pilothouse.api.types import Obj
from pilothouse.scheduler.pod_terms import Term, terms_of
from pilothouse.scheduler.pressure import Declared, declared_of
from pilothouse.scheduler.volume_use import NONE, PodVolumes, pod_volumes

_SCORING_DEFAULT: Mapping[str, int] = {"cpu": 100, "memory": 200 * 1024 * 1024}
"""What scoring takes a container without requests to use (schedutil.GetNonzeroRequests)."""


@dataclass(eq=False, slots=True)
class PodInfo:
    """`requests` and `scored` are whole units (CPU in thousandths); resources that are asked for with zero are
    left out of `requests`. Both are shared by pods that are alike: never change them."""

    pod: Obj
    uid: str
    priority: int
    requests: dict[str, int]
    scored: dict[str, int]
    ports: tuple[Port, ...]
    terms: tuple[Term, ...] = ()
    """Its affinity to other pods, and aversion."""
    declared: Declared | None = None
    """What it does to its neighbours, if it says."""
    volumes: PodVolumes = NONE
    """Those that rules ask about; `NONE` itself when there are none."""

    @property
    def namespace(self) -> str:
        return str(self.pod["metadata"].get("namespace", ""))

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def node(self) -> str:
        """Where it runs or is to run; "" for nowhere yet."""
        return str(self.pod["spec"].get("nodeName", ""))

    @property
    def nominated(self) -> str:
        """The node that preemption makes room on."""
        return str((self.pod.get("status") or {}).get("nominatedNodeName", ""))


def pod_info(pod: Obj, before: PodInfo | None = None) -> PodInfo:
    """`before` is what is known of the same pod: nothing is worked out again of the same parts."""
    if before is not None and _tells_the_same(pod, before.pod):
        return replace(before, pod=pod)
    requests, scored, ports, terms = _facts(pod)
    return PodInfo(
        pod,
        pod["metadata"]["uid"],
        pod["spec"].get("priority") or 0,
        requests,
        scored,
        ports,
        terms,
        declared_of(pod),
        pod_volumes(pod),
    )


_HELD = ("resources", "allocatedResources", "containerStatuses", "initContainerStatuses")


def _tells_the_same(pod: Obj, old: Obj) -> bool:
    """Whether all is as it was that a PodInfo is made of. Within one process that takes no time: a bound pod has the
    very objects of the one that was assumed to be bound."""
    status = pod.get("status") or {}
    for key in _HELD:
        if key in status:
            return False
    meta, before = pod["metadata"], old["metadata"]
    return (
        pod["spec"] == old["spec"]
        and meta.get("labels") == before.get("labels")
        and meta.get("annotations") == before.get("annotations")
        and not any(key in (old.get("status") or ()) for key in _HELD)
    )


_Facts = tuple[dict[str, int], dict[str, int], tuple[Port, ...], tuple[Term, ...]]
_known: OrderedDict[bytes, _Facts] = OrderedDict()
"""What follows from a spec. Pods of one template have it in common, in time and in memory."""
_KNOWN_MAX = 1024
_encode = msgspec.json.Encoder().encode


def _facts(pod: Obj) -> _Facts:
    spec = pod["spec"]
    containers = [
        (c["name"], c.get("resources"), c.get("ports"), c.get("restartPolicy"))
        for group in ("containers", "initContainers")
        for c in spec.get(group) or ()
    ]
    key = _encode(
        (
            pod["metadata"].get("namespace"),
            len(spec.get("initContainers") or ()),
            containers,
            spec.get("resources"),
            spec.get("overhead"),
            spec.get("affinity"),
            pod["metadata"].get("labels") if spec.get("affinity") else None,
            _held(pod) if spec.get("nodeName") else None,
        )
    )
    found = _known.get(key)
    if found is None:
        found = _known[key] = _worked_out(pod)
        if len(_known) > _KNOWN_MAX:
            _known.popitem(last=False)
    return found


def _held(pod: Obj) -> list[object]:
    """What a kubelet says that a pod holds, and whether it can be resized."""
    status = pod.get("status") or {}
    held: list[object] = [status.get("resources"), status.get("allocatedResources")]
    for group in ("containerStatuses", "initContainerStatuses"):
        for entry in status.get(group) or ():
            held.append((entry["name"], entry.get("allocatedResources"), entry.get("resources")))
    if len(held) > 2 or any(held):
        for condition in status.get("conditions") or ():
            held.append((condition["type"], condition.get("status"), condition.get("reason")))
    return held


def _worked_out(pod: Obj) -> _Facts:
    given = allotted(pod) if pod["spec"].get("nodeName") else None
    return (
        {name: value for name, value in pod_requests(pod, given=given).items() if value},
        pod_requests(pod, default=_SCORING_DEFAULT, given=given),
        host_ports(pod),
        terms_of(pod),
    )


def on_node(info: PodInfo, node: str) -> PodInfo:
    """The same pod as if it were bound to a node."""
    pod = {**info.pod, "spec": {**info.pod["spec"], "nodeName": node}}
    return PodInfo(
        pod,
        info.uid,
        info.priority,
        info.requests,
        info.scored,
        info.ports,
        info.terms,
        info.declared,
        info.volumes,
    )
