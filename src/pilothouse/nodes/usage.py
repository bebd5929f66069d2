"""What simulated containers use: cores and bytes, for kubelets' own paths and for the resource metrics API. Pure.

Whoever says it first is believed, for each resource alone:

    1. a ResourceUsage of the pod, then the first ClusterResourceUsage that selects it (stage files: `stages.usage`)
    2. pilothouse.dev/cpu-usage.NAME, .../memory-usage.NAME     annotations of the pod, for one container
    3. pilothouse.dev/cpu-usage, .../memory-usage               for all its containers
    4. kwok.x-k8s.io/usage-cpu, .../usage-memory                 the same, as kwok calls it
    5. 1m and 1Mi, as in kwok's metrics-usage.yaml

Text that is no quantity counts as absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from pilothouse.api import quantity
from pilothouse.api.kubelet import ContainerUse
from pilothouse.api.quantity import Quantity
from pilothouse.api.types import Obj
from pilothouse.nodes.behaviour import PREFIX

_KWOK = "kwok.x-k8s.io/usage-"
_OWN = {"cpu": f"{PREFIX}cpu-usage", "memory": f"{PREFIX}memory-usage"}
_DEFAULTS = {"cpu": quantity.parse("1m"), "memory": quantity.parse("1Mi")}
_SAYING = (f"{_KWOK}cpu", f"{_KWOK}memory", *_OWN.values())


class Described(Protocol):
    """What files say."""

    def amount(self, resource: str, pod: Obj, container: str, node: Obj | None) -> Quantity | None:
        """None when they say nothing of it."""


class Usages:
    """`described` is what stage files say; None when there are none."""

    def __init__(self, described: Described | None = None) -> None:
        self.described = described

    def of(self, pod: Obj, node: Obj | None) -> list[ContainerUse]:
        """See `api.kubelet.Usages`. Init containers that run are among them, as kubelets report them."""
        return [
            ContainerUse(
                name,
                started,
                self._amount("cpu", pod, name, node).nano,
                self._amount("memory", pod, name, node).value,
            )
            for name, started in _running(pod)
        ]

    def _amount(self, resource: str, pod: Obj, container: str, node: Obj | None) -> Quantity:
        if self.described is not None:
            said = self.described.amount(resource, pod, container, node)
            if said is not None:
                return said
        annotations = pod["metadata"].get("annotations") or {}
        return _annotated(annotations, resource, container) or _DEFAULTS[resource]


def says_what_it_uses(pod: Obj) -> bool:
    """Whether annotations of a pod say anything about it."""
    annotations = pod["metadata"].get("annotations")
    return bool(annotations) and any(key.startswith(_SAYING) for key in annotations)


def _annotated(annotations: Mapping[str, str], resource: str, container: str) -> Quantity | None:
    own = _OWN[resource]
    for key in (f"{own}.{container}", own, f"{_KWOK}{resource}"):
        text = annotations.get(key)
        if text is None:
            continue
        try:
            return quantity.parse(text)
        except ValueError:
            continue
    return None


def _running(pod: Obj) -> Iterator[tuple[str, str]]:
    """(name, since when) of each container that runs."""
    status = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        for entry in status.get(group) or ():
            running = (entry.get("state") or {}).get("running")
            if running is not None:
                yield entry["name"], running.get("startedAt") or pod["metadata"]["creationTimestamp"]
