"""A managed cluster that finds its last run unfinished, or its ports taken; with a real etcd."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from pilothouse.etcd.cluster import binary, members
from pilothouse.etcd.cluster.layout import JOINING, STARTED, Home, Member
from pilothouse.etcd.cluster.managed import ManagedCluster
from pilothouse.etcd.cluster.ports import free_ports
from pilothouse.etcd.cluster.supervisor import MemberProcess
from pilothouse.etcd.contract import Put, Range, StoreError
from pilothouse.kit.world import World
from tests.programs import required

KEY = b"/registry/x"


class _Run:
    """A cluster of three on one directory, started and stopped as often as a test wants."""

    def __init__(self, directory: Path) -> None:
        required("etcd")
        self.home = Home(directory)
        self.world = World()
        self.said: list[str] = []
        self.cluster = self._cluster()

    def _cluster(self) -> ManagedCluster:
        return ManagedCluster(self.home, self.world, binary.find(), self.said.append, durable=False)

    async def restart(self) -> ManagedCluster:
        await self.cluster.stop()
        return await self.again()

    async def again(self) -> ManagedCluster:
        self.cluster = self._cluster()
        await self.cluster.start(3)
        return self.cluster

    async def names(self) -> list[str]:
        return [member.name for member in await members.list_members(self.cluster.client)]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[_Run]:
    run = _Run(tmp_path)
    await run.cluster.start(3)
    yield run
    await run.cluster.stop()


def _joining(run: _Run) -> Member:
    client_port, peer_port = free_ports(run.world.random, 2)
    return Member("m4", client_port, peer_port, JOINING, is_learner=True)


def _remember(run: _Run, member: Member) -> None:
    layout = run.home.read()
    assert layout is not None
    run.home.write(layout.with_member(member))


async def test_a_member_that_never_came_to_join_is_forgotten(run: _Run) -> None:
    await run.cluster.stop()
    _remember(run, _joining(run))
    cluster = await run.again()
    assert [member.name for member in cluster.layout.members] == ["m1", "m2", "m3"]
    assert await run.names() == ["m1", "m2", "m3"]


async def test_a_member_that_was_joining_when_up_was_killed_joins(run: _Run) -> None:
    member = _joining(run)
    _remember(run, member)
    await members.add(run.cluster.client, [member.peer_url])
    cluster = await run.restart()
    found = cluster.layout.member("m4")
    assert found is not None
    assert found.stage == STARTED
    assert found.id
    assert "m4 is a learner" in run.said[-1]
    state = await cluster.promote("m4")
    assert not members.pick(await members.survey(cluster.client), f"{state.id:x}").is_learner


async def test_an_addition_that_fails_leaves_nothing_behind(
    run: _Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = MemberProcess.start

    def broken(process: MemberProcess) -> None:
        process.command[-1:] = ["--no-such-flag"]
        start(process)

    monkeypatch.setattr(MemberProcess, "start", broken)
    with pytest.raises(StoreError, match="the new member does not start: m4 says"):
        await run.cluster.add()
    assert await run.names() == ["m1", "m2", "m3"]
    assert run.cluster.layout.member("m4") is None
    assert not run.home.member("m4").exists()
    monkeypatch.undo()
    assert (await run.cluster.add()).name == "m4"


async def test_ports_that_others_took_are_replaced(run: _Run) -> None:
    backend = await run.cluster.open_backend(run.world)
    await backend.put(Put(KEY, b"1"))
    await backend.close()
    first, second, third = run.cluster.layout.members
    await run.cluster.stop()
    with (
        socket.create_server(("127.0.0.1", first.client_port)),
        socket.create_server(("127.0.0.1", second.peer_port)),
    ):
        cluster = await run.again()
        states = await members.survey(cluster.client)
        assert [state.id for state in states] == [member.id for member in (first, second, third)]
        backend = await cluster.open_backend(run.world)
        assert (await backend.range(Range(KEY))).kvs[0].value == b"1"
        await backend.close()
        moved = cluster.layout.member("m2")
        assert moved is not None
        assert moved.peer_port != second.peer_port
    assert any("is taken by now" in line for line in run.said)


async def test_without_a_quorum_of_data_nothing_is_made_up(run: _Run) -> None:
    await run.cluster.stop()
    for name in ("m1", "m2"):
        (run.home.member(name) / "data").rename(run.home.member(name) / "elsewhere")
    with pytest.raises(
        StoreError, match=r"no quorum without m1 \(its data is gone\), m2 \(its data is gone\)"
    ):
        await run.again()


async def test_somebody_elses_removal_is_followed(run: _Run) -> None:
    gone = run.cluster.layout.members[2]
    await members.remove_by_id(run.cluster.client, gone.id, run.world)
    cluster = await run.restart()
    assert [member.name for member in cluster.layout.members] == ["m1", "m2"]
    assert "m3 was removed from the cluster by somebody else" in "\n".join(run.said)


async def test_a_backend_follows_the_members(run: _Run) -> None:
    cluster = run.cluster
    backend = await cluster.open_backend(run.world)
    try:
        for member in list(cluster.layout.members):
            await cluster.remove(member.name)
            await cluster.add()
            await backend.put(Put(KEY, member.name.encode()))
        assert set(backend.client.endpoints) == set(cluster.endpoints)
    finally:
        await backend.close()


async def test_a_member_that_finds_no_leader_is_told_with_its_words(run: _Run) -> None:
    """Two of three members are unknown here."""
    await run.cluster.stop()
    layout = run.home.read()
    assert layout is not None
    run.home.write(replace(layout, members=layout.members[:1]))
    cluster = ManagedCluster(run.home, run.world, binary.find(), run.said.append, patience_s=4.0)
    with pytest.raises(StoreError, match="etcd does not start"):
        await cluster.start()
