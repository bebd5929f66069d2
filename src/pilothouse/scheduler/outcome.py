"""What people are told of a pod's scheduling: events, and the PodScheduled condition while it has no node."""

from __future__ import annotations

import asyncio
import logging

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.client.pod_conditions import condition_patch
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.pod_info import PodInfo

log = logging.getLogger(__name__)

_MESSAGE_LENGTH_MAX = 1024
"""Events' notes are no longer (k8s.io/kubernetes/pkg/apis/core/validation NoteLengthLimit)."""


class Reporter:
    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._writing: dict[str, asyncio.Event] = {}
        """By UID, the pods whose status is being written: one write after the other, as a later one must not be
        overtaken by an earlier one."""
        self._next: dict[str, Obj] = {}
        """What is to be written of them then."""

    @classmethod
    def of(cls, handle: Handle) -> Reporter:
        """The one that all share."""
        found: Reporter = handle.shared.setdefault("Reporter", cls(handle))
        return found

    async def reported(self, uid: str) -> None:
        """Wait until what was said of a pod is written."""
        while (last := self._writing.get(uid)) is not None:
            await last.wait()

    def scheduled(self, info: PodInfo, node: str) -> None:
        message = f"Successfully assigned {info.key} to {node}"
        self._handle.recorder.event(
            _regarding(info), "Normal", "Scheduled", message, action="Binding", component=_scheduler(info)
        )

    async def unschedulable(self, info: PodInfo, message: str, nominated: str | None = None) -> None:
        """No node; `nominated` is the one on which room is being made, "" when there is none any more."""
        await self._report(info, "Unschedulable", message, nominated)

    async def failed(self, info: PodInfo, message: str) -> None:
        """An error on the way."""
        await self._report(info, "SchedulerError", message, None)

    async def _report(self, info: PodInfo, reason: str, message: str, nominated: str | None) -> None:
        note = shortened(message)
        self._handle.recorder.event(
            _regarding(info),
            "Warning",
            "FailedScheduling",
            note,
            action="Scheduling",
            component=_scheduler(info),
        )
        patch = self._patch(info, reason, message, nominated)
        if patch is not None:
            await self._send(info, patch)

    async def clear_nomination(self, info: PodInfo) -> None:
        """Of a pod for which no room is kept any more (clearNominatedNodeName)."""
        await self._send(info, {"metadata": {"uid": info.uid}, "status": {"nominatedNodeName": None}})

    async def _send(self, info: PodInfo, patch: Obj) -> None:
        uid = info.uid
        if uid in self._writing:
            before = self._next.get(uid, patch)
            self._next[uid] = {**patch, "status": {**before["status"], **patch["status"]}}
            return
        self._writing[uid] = written = asyncio.Event()
        left: Obj | None = patch
        try:
            while left is not None:
                await self._write(info, left)
                left = self._next.pop(uid, None)
        finally:
            self._next.pop(uid, None)
            del self._writing[uid]
            written.set()

    async def _write(self, info: PodInfo, patch: Obj) -> None:
        try:
            await self._handle.client.patch(
                PODS, info.name, patch, info.namespace, patch_type="strategic", subresource="status"
            )
        except (ApiError, ConnectionError) as error:
            if not (isinstance(error, ApiError) and error.code == 404):
                log.info("condition of %s not written: %s", info.key, error)

    def _patch(self, info: PodInfo, reason: str, message: str, nominated: str | None) -> Obj | None:
        """None when the status says it already, as far as nothing else is being written to it."""
        status = info.pod.get("status") or {}
        present: Obj = next((c for c in status.get("conditions") or () if c["type"] == "PodScheduled"), {})
        same = present.get("status") == "False"
        condition: Obj = {
            "type": "PodScheduled",
            "observedGeneration": info.pod["metadata"].get("generation", 0),
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": present["lastTransitionTime"] if same else self._handle.world.timestamp(),
            "reason": reason,
            "message": message,
        }
        changed = {k: v for k, v in condition.items() if v is not None and present.get(k) != v}
        busy = info.uid in self._writing
        renominated = nominated is not None and (busy or nominated != info.nominated)
        if not busy and not changed and not renominated:
            return None
        patch = condition_patch(info.pod, condition)
        if renominated:
            patch["status"]["nominatedNodeName"] = nominated or None
        return patch


def shortened(message: str) -> str:
    """As the scheduler cuts what is too long for an event (truncateMessage)."""
    suffix = " ..."
    if len(message) <= _MESSAGE_LENGTH_MAX:
        return message
    return message[: _MESSAGE_LENGTH_MAX - len(suffix)] + suffix


def _scheduler(info: PodInfo) -> str:
    """Events come from the profile, not from the process."""
    return str(info.pod["spec"].get("schedulerName", ""))


def _regarding(info: PodInfo) -> Obj:
    return {**info.pod, "kind": "Pod", "apiVersion": "v1"}
