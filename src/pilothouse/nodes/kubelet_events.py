"""The events that kubelets write about pods and nodes, as many as wanted.

`ALL` is what a real kubelet writes: some four events for every pod that starts. `WARNINGS`, the default, leaves out
the routine: it says nothing of a pod that does well (docs/decisions/0036). `NONE` writes none.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.types import Obj
from pilothouse.client.events import EventRecorder
from pilothouse.nodes.life import Note

ALL = "all"
WARNINGS = "warnings"
NONE = "none"
LEVELS = (ALL, WARNINGS, NONE)


class KubeletEvents:
    def __init__(self, recorder: EventRecorder, level: str = WARNINGS) -> None:
        if level not in LEVELS:
            raise ValueError(f"{level!r} is none of {', '.join(LEVELS)}")
        self._recorder = recorder
        self._level = level

    def of_pod(self, pod: Obj, notes: Iterable[Note]) -> None:
        for note in notes:
            if not self._wanted(note):
                continue
            meta = pod["metadata"]
            regarding: Obj = {
                "kind": "Pod",
                "namespace": meta.get("namespace", ""),
                "name": meta["name"],
                "uid": meta["uid"],
                "apiVersion": "v1",
                "resourceVersion": meta["resourceVersion"],
            }
            if note.container:
                regarding["fieldPath"] = note.container
            host = pod["spec"].get("nodeName", "")
            self._recorder.event(regarding, note.type, note.reason, note.message, host=host)

    def of_node(self, name: str, note: Note) -> None:
        """A kubelet names the node where it should give the UID."""
        if self._wanted(note):
            regarding = {"kind": "Node", "name": name, "uid": name}
            self._recorder.event(regarding, note.type, note.reason, note.message, host=name)

    def _wanted(self, note: Note) -> bool:
        return self._level == ALL or (self._level == WARNINGS and note.type == "Warning")
