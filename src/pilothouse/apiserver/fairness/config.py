"""Keeps traffic in line with the stored FlowSchemas and PriorityLevelConfigurations, and their statuses in line with it
(k8s.io/apiserver/pkg/util/flowcontrol apf_controller.go, kube-apiserver's flowcontrol rest ensurer)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.fairness import classify, shares
from pilothouse.apiserver.fairness.level import Level, Queuing
from pilothouse.apiserver.fairness.traffic import Counts, Scheme, Traffic
from pilothouse.apiserver.registry.following import follow
from pilothouse.kit.tasks import Tasks

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

log = logging.getLogger(__name__)

GROUP = "flowcontrol.apiserver.k8s.io"
FLOW_SCHEMAS = Resource(GROUP, "v1", "flowschemas", "FlowSchema", False)
PRIORITY_LEVELS = Resource(GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", False)
MANDATORY = ("exempt", "catch-all")
MANAGER = "api-priority-and-fairness-config-consumer-v1"


class Config:
    """Of one server, with so many `seats` in all."""

    def __init__(self, server: ApiServer, traffic: Traffic, seats: int) -> None:
        self._server = server
        self._world = server.world
        self._traffic = traffic
        self._seats = seats
        self._counts: dict[tuple[str, str], Counts] = {}
        self._tasks = Tasks("priority and fairness")

    def start(self) -> None:
        """In force when it returns."""
        self._settle()
        for resource in (FLOW_SCHEMAS, PRIORITY_LEVELS):
            self._tasks.start(resource.plural, self._follow(resource))

    async def stop(self) -> None:
        await self._tasks.stop()

    @property
    def counts(self) -> list[Counts]:
        return list(self._counts.values())

    async def _follow(self, resource: Resource) -> None:
        scope = self._server.router.scope(resource.group, resource.version, resource.plural)
        if scope is None:
            return

        async def settle() -> None:
            await self._server.ensure_mandatory(resource, MANDATORY)
            self._settle()
            await self._tell()

        await follow(scope.rest.store, self._world, settle)

    def _settle(self) -> None:
        lister = self._server.lister
        configurations = {obj["metadata"]["name"]: obj for obj in lister.list(PRIORITY_LEVELS)}
        for name in MANDATORY:
            configurations.setdefault(name, _mandatory(name))
        limits = shares.nominal_limits(configurations.values(), self._seats)
        levels = {}
        for name, obj in configurations.items():
            level = levels[name] = self._traffic.levels.get(name) or Level(name, self._world)
            exempt = obj["spec"]["type"] == "Exempt"
            level.configure(
                obj["metadata"].get("uid", ""),
                None if exempt else limits[name],
                None if exempt else _queuing(obj),
            )
        schemes = []
        for obj in classify.in_order(lister.list(FLOW_SCHEMAS)):
            found = levels.get(_level_name(obj))
            if found is not None:
                schemes.append(Scheme(obj, found, self._counted(found.name, obj["metadata"]["name"])))
        self._traffic.configure(schemes, levels)

    def _counted(self, level: str, schema: str) -> Counts:
        key = (level, schema)
        if key not in self._counts:
            self._counts[key] = Counts(level, schema)
        return self._counts[key]

    async def _tell(self) -> None:
        """The condition Dangling of every FlowSchema."""
        for obj in list(self._server.lister.list(FLOW_SCHEMAS)):
            exists = _level_name(obj) in self._traffic.levels
            status = dangling(obj, exists, self._world.timestamp())
            if status is None:
                continue
            try:
                await self._server.objects.apply_status(
                    FLOW_SCHEMAS, obj["metadata"]["name"], status, MANAGER
                )
            except errors.ApiError as error:
                log.info("the status of %s was not written: %s", obj["metadata"]["name"], error)


def dangling(schema: Obj, exists: bool, now: str) -> Obj | None:
    """The status that a FlowSchema should have; None when it has it. The time changes with the condition's status."""
    state, reason = ("False", "Found") if exists else ("True", "NotFound")
    tail = "and it exists" if exists else "but there is no such object"
    level = go_quote(_level_name(schema))
    message = f"This FlowSchema references the PriorityLevelConfiguration object named {level} {tail}"
    old = next(
        (c for c in (schema.get("status") or {}).get("conditions") or () if c.get("type") == "Dangling"), None
    )
    if old is not None and (old.get("status"), old.get("reason"), old.get("message")) == (
        state,
        reason,
        message,
    ):
        return None
    since = old["lastTransitionTime"] if old is not None and old.get("status") == state else now
    condition = {
        "type": "Dangling",
        "status": state,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
    return {"conditions": [condition]}


def _level_name(schema: Obj) -> str:
    name: str = schema["spec"]["priorityLevelConfiguration"]["name"]
    return name


def _queuing(level: Obj) -> Queuing | None:
    response = (level["spec"].get("limited") or {}).get("limitResponse") or {}
    if response.get("type") != "Queue":
        return None
    queuing = response.get("queuing") or {}
    return Queuing(
        queuing.get("queues") or 64, queuing.get("handSize") or 8, queuing.get("queueLengthLimit") or 50
    )


def _mandatory(name: str) -> Obj:
    """In force even while nobody has it stored."""
    if name == "exempt":
        return {"metadata": {"name": name}, "spec": {"type": "Exempt"}}
    limited = {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}
    return {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}}
