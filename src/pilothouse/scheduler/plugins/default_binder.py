"""DefaultBinder: the binding subresource of the pod (pkg/scheduler/framework/plugins/defaultbinder)."""

from __future__ import annotations

from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import BindPlugin, Cycle
from pilothouse.scheduler.handle import Handle


class DefaultBinder(BindPlugin):
    name = "DefaultBinder"

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def bind(self, cycle: Cycle, node: str) -> bool:
        info = cycle.info
        body: Obj = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": info.name, "namespace": info.namespace, "uid": info.uid},
            "target": {"kind": "Node", "name": node},
        }
        await self._handle.client.create(PODS, body, info.namespace, name=info.name, subresource="binding")
        return True
