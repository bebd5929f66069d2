"""What the scheduler needs to know of a pod, worked out once per version of it (framework.PodInfo)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pilothouse.api.pod_requests import Port, allotted, host_ports, pod_requests
from pilothouse.api.types import Obj
from pilothouse.scheduler.pod_terms import Term, terms_of
from pilothouse.scheduler.volume_use import NONE, PodVolumes, pod_volumes

_SCORING_DEFAULT: Mapping[str, int] = {"cpu": 100, "memory": 200 * 1024 * 1024}
"""What scoring takes a container without requests to use (schedutil.GetNonzeroRequests)."""


@dataclass(eq=False, slots=True)
class PodInfo:
    """`requests` and `scored` are whole units (CPU in thousandths); resources that are asked for with zero are
    left out of `requests`."""

    pod: Obj
    uid: str
    priority: int
    requests: dict[str, int]
    scored: dict[str, int]
    ports: tuple[Port, ...]
    terms: tuple[Term, ...] = ()
    """Its affinity to other pods, and aversion."""
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


def pod_info(pod: Obj) -> PodInfo:
    given = allotted(pod) if pod["spec"].get("nodeName") else None
    return PodInfo(
        pod,
        pod["metadata"]["uid"],
        pod["spec"].get("priority") or 0,
        {name: value for name, value in pod_requests(pod, given=given).items() if value},
        pod_requests(pod, default=_SCORING_DEFAULT, given=given),
        host_ports(pod),
        terms_of(pod),
        pod_volumes(pod),
    )


def on_node(info: PodInfo, node: str) -> PodInfo:
    """The same pod as if it were bound to a node."""
    pod = {**info.pod, "spec": {**info.pod["spec"], "nodeName": node}}
    return PodInfo(
        pod, info.uid, info.priority, info.requests, info.scored, info.ports, info.terms, info.volumes
    )
