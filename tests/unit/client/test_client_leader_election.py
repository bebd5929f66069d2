"""Leader election by Lease, in virtual time: one of several leads, a lost lease ends a leader, a given-up one is
taken at once (client-go tools/leaderelection)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.client.leader_election import LeaderElector, LeadershipLost
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world


class Leases:
    """A server with one lease; `down` makes it silent or unreachable."""

    def __init__(self) -> None:
        self.lease: Obj | None = None
        self.revision = 0
        self.down: Callable[[], Awaitable[None]] | None = None

    async def _answer(self) -> None:
        if self.down is not None:
            await self.down()

    async def get(self, resource: Any, name: str, namespace: str) -> Obj:
        await self._answer()
        if self.lease is None:
            raise errors.not_found("coordination.k8s.io", "leases", name)
        return self.lease

    async def create(self, resource: Any, obj: Obj, namespace: str) -> Obj:
        await self._answer()
        return self._store(obj)

    async def update(self, resource: Any, obj: Obj) -> Obj:
        await self._answer()
        if obj["metadata"]["resourceVersion"] != str(self.revision):
            raise errors.conflict("coordination.k8s.io", "leases", "x", "changed")
        return self._store(obj)

    def _store(self, obj: Obj) -> Obj:
        self.revision += 1
        self.lease = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}
        return self.lease

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


class Told:
    def __init__(self) -> None:
        self.messages: list[str] = []

    def event(self, regarding: Obj, type: str, reason: str, message: str) -> None:
        assert (regarding["kind"], type, reason) == ("Lease", "Normal", "LeaderElection")
        self.messages.append(message)


def elector(server: Leases, identity: str, told: Told | None = None) -> LeaderElector:
    world = simulated_world(hash(identity) % 100)
    return LeaderElector(server, world, name="kube-scheduler", identity=identity, recorder=told)  # type: ignore[arg-type]


async def _forever() -> None:
    await asyncio.Event().wait()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_of_two_one_leads_and_the_other_takes_over_when_it_gives_up() -> None:
    async def scenario() -> None:
        server, told = Leases(), Told()
        first, second = elector(server, "first", told), elector(server, "second", told)
        one = asyncio.ensure_future(first.run(_forever))
        await asyncio.sleep(1)
        two = asyncio.ensure_future(second.run(_forever))
        await asyncio.sleep(120)
        assert (first.is_leader, second.is_leader) == (True, False)
        await _end(one)
        assert server.holder == ""
        await asyncio.sleep(5)
        assert second.is_leader
        assert server.lease is not None
        assert server.lease["spec"]["leaseTransitions"] == 1
        assert told.messages == ["first became leader", "first stopped leading", "second became leader"]
        await _end(two)

    run_virtual(scenario())


async def _refuses() -> None:
    raise ConnectionError("no route")


async def _hangs() -> None:
    await asyncio.sleep(1000)


@pytest.mark.parametrize("down", [_refuses, _hangs])
def test_a_leader_that_cannot_renew_ends_within_the_deadline(down: Callable[[], Awaitable[None]]) -> None:
    async def scenario() -> None:
        server = Leases()
        leader = elector(server, "first")
        task = asyncio.ensure_future(leader.run(_forever))
        await asyncio.sleep(3)
        server.down = down
        started = asyncio.get_running_loop().time()
        with pytest.raises(
            LeadershipLost, match="failed to renew lease kube-system/kube-scheduler within 10 s"
        ):
            await task
        assert asyncio.get_running_loop().time() - started <= 14
        assert not leader.is_leader

    run_virtual(scenario())


def test_a_silent_leaders_lease_is_taken_when_it_has_run_out() -> None:
    async def scenario() -> None:
        server = Leases()
        silent = {"holderIdentity": "gone", "leaseDurationSeconds": 15, "leaseTransitions": 4}
        server.lease = {"metadata": {"name": "kube-scheduler", "resourceVersion": "0"}, "spec": silent}
        leader = elector(server, "next")
        task = asyncio.ensure_future(leader.run(_forever))
        await asyncio.sleep(14)
        assert not leader.is_leader
        await asyncio.sleep(7)
        assert leader.is_leader
        assert server.lease["spec"]["leaseTransitions"] == 5
        await _end(task)

    run_virtual(scenario())
