"""Waiting for members of a managed cluster to serve, with an end to patience."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from pilothouse.etcd.cluster import members
from pilothouse.etcd.cluster.client import EtcdClient
from pilothouse.etcd.cluster.control import Say
from pilothouse.etcd.cluster.layout import Member
from pilothouse.etcd.cluster.supervisor import MemberProcess
from pilothouse.etcd.contract import StoreError
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_STATUS_TIMEOUT_S = 1.0
_STRAGGLERS_S = 15.0
_POLL_S = 0.05
_ENDS_MAX = 4
"""So often a process may end before its start is given up."""


class Readiness:
    """`processes` are those that run now, by the member's name; a start may take `patience_s`."""

    def __init__(
        self,
        client: EtcdClient,
        processes: Mapping[str, MemberProcess],
        world: World,
        say: Say,
        patience_s: float,
    ) -> None:
        self._client = client
        self._processes = processes
        self._world = world
        self._say = say
        self._patience_s = patience_s

    async def all_of(self, wanted: Sequence[Member], voters: int) -> None:
        """Until they serve, or a quorum of all `voters` does and the rest takes too long. StoreError with what the
        others said last."""
        began_s = self._world.clock.monotonic()
        told = 0
        while True:
            serving = await asyncio.gather(*(self.serves(member) for member in wanted))
            if all(serving):
                return
            if sum(serving) > told:
                told = sum(serving)
                self._say(f"etcd: {told} of {len(wanted)} members serve")
            down = [self._processes[m.name] for m, up in zip(wanted, serving, strict=True) if not up]
            waited_s = self._world.clock.monotonic() - began_s
            if sum(serving) >= members.quorum(voters) and waited_s > _STRAGGLERS_S:
                self._say(f"etcd serves without {_why_down(down)}")
                return
            hopeless = len(wanted) - sum(p.ends >= _ENDS_MAX for p in down) < members.quorum(voters)
            if hopeless or waited_s > self._patience_s:
                raise StoreError(f"etcd does not start: {_why_down(down)}")
            await self._world.clock.sleep(_POLL_S)

    async def one(self, member: Member) -> None:
        """Until it serves. StoreError with what it said last."""
        process = self._processes[member.name]
        until_s = self._world.clock.monotonic() + self._patience_s
        while not await self.serves(member):
            if process.ends >= _ENDS_MAX or self._world.clock.monotonic() > until_s:
                raise StoreError(f"the new member does not start: {_why_down([process])}")
            await self._world.clock.sleep(_POLL_S)

    async def serves(self, member: Member) -> bool:
        """Whether it answers, and knows a leader."""
        return bool(await self.leader_by(member))

    async def leader_by(self, member: Member) -> int:
        """The leader's id, as one member knows it; 0 if it does not."""
        try:
            status = await members.status_of(self._client, member.client_url, _STATUS_TIMEOUT_S)
        except StoreError as error:
            log.debug("%s does not serve: %s", member.name, error)
            return 0
        return int(status.leader)


def _why_down(processes: list[MemberProcess]) -> str:
    return "; ".join(f"{p.name} says: {p.last_words} (its log is {p.log_path})" for p in processes)
