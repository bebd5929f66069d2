"""What the scheduler's pod informer shows: how many pods of a namespace have a node, and since when."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from pilothouse.api.types import Obj
from pilothouse.client.informer import Handler, Informer

Stage = Literal["new", "attempted", "scheduled"]
"""attempted: it has a PodScheduled condition."""
OnScheduled = Callable[[Obj], None]


def stage_of(pod: Obj) -> Stage:
    if pod["spec"].get("nodeName"):
        return "scheduled"
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return "attempted" if any(c["type"] == "PodScheduled" for c in conditions) else "new"


def matches(pod: Obj, selector: Mapping[str, str]) -> bool:
    return not selector or selector.items() <= (pod["metadata"].get("labels") or {}).items()


class PodWatch(Handler):
    """Counts by namespace, and callbacks for pods that got a node just now."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer
        self._stages: dict[str, Stage] = {}
        """Of the pods that are there, by UID."""
        self._counts: dict[tuple[str, Stage], int] = {}
        self.listeners: list[OnScheduled] = []
        informer.add_handler(self)

    def on_add(self, obj: Obj) -> None:
        self._seen(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._seen(new)

    def on_delete(self, obj: Obj) -> None:
        before = self._stages.pop(obj["metadata"]["uid"], None)
        if before is not None:
            self._counts[obj["metadata"]["namespace"], before] -= 1

    def _seen(self, pod: Obj) -> None:
        meta, now = pod["metadata"], stage_of(pod)
        before = self._stages.get(meta["uid"])
        if before == now:
            return
        self._stages[meta["uid"]] = now
        namespace = meta["namespace"]
        if before is not None:
            self._counts[namespace, before] -= 1
        self._counts[namespace, now] = self._counts.get((namespace, now), 0) + 1
        if now == "scheduled":
            for listener in self.listeners:
                listener(pod)

    def count(self, namespace: str, stages: tuple[Stage, ...], selector: Mapping[str, str]) -> int:
        """How many pods that are there now are in one of some stages."""
        if not selector:
            return sum(self._counts.get((namespace, stage), 0) for stage in stages)
        return sum(
            1 for pod in self.pods(namespace, selector) if self._stages[pod["metadata"]["uid"]] in stages
        )

    def pods(self, namespace: str, selector: Mapping[str, str]) -> list[Obj]:
        return [
            pod
            for pod in self._informer.list()
            if pod["metadata"]["namespace"] == namespace and matches(pod, selector)
        ]
