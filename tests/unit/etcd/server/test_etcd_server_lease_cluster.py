"""The Lease and Cluster services, and what outlives a restart."""

from __future__ import annotations

from pathlib import Path

from pilothouse.etcd.embedded.log import SqliteLog
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import LEASE

from .serving import served


async def test_times_to_live_have_bounds() -> None:
    async with served() as (client, _, _):
        for asked, granted in ((1, 2), (0, 2), (-5, 2), (60, 60), (9_000_000_000, 9_000_000_000)):
            assert granted == (await client.call("LeaseGrant", pb.LeaseGrantRequest(TTL=asked))).TTL
        refused = await client.refusal("LeaseGrant", pb.LeaseGrantRequest(TTL=9_000_000_001))
        assert refused == ("OUT_OF_RANGE", "etcdserver: too large lease TTL")


async def test_a_leases_life() -> None:
    async with served() as (client, _, _):
        await client.call("LeaseGrant", pb.LeaseGrantRequest(TTL=100, ID=9))
        refused = await client.refusal("LeaseGrant", pb.LeaseGrantRequest(TTL=100, ID=9))
        assert refused == ("FAILED_PRECONDITION", "etcdserver: lease already exists")
        await client.put(b"b", lease=9)
        await client.put(b"a", lease=9)
        life = await client.call("LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=9, keys=True))
        assert (life.grantedTTL, list(life.keys)) == (100, [b"a", b"b"])
        assert 90 < life.TTL <= 100
        assert not (await client.call("LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=9))).keys
        assert [x.ID for x in (await client.call("LeaseLeases", pb.LeaseLeasesRequest())).leases] == [9]
        await client.call("LeaseRevoke", pb.LeaseRevokeRequest(ID=9))
        assert (await client.call("Range", pb.RangeRequest(key=b"a", range_end=b"c"))).count == 0
        assert (await client.call("LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=9))).TTL == -1
        refused = await client.refusal("LeaseRevoke", pb.LeaseRevokeRequest(ID=9))
        assert refused == ("NOT_FOUND", "etcdserver: requested lease not found")


async def test_leases_that_end_first_are_listed_first() -> None:
    async with served() as (client, _, _):
        for lease, ttl in ((1, 300), (2, 100), (3, 200)):
            await client.call("LeaseGrant", pb.LeaseGrantRequest(TTL=ttl, ID=lease))
        assert [x.ID for x in (await client.call("LeaseLeases", pb.LeaseLeasesRequest())).leases] == [2, 3, 1]


async def test_keeping_alive_answers_each_request() -> None:
    async with served() as (client, _, _):
        await client.call("LeaseGrant", pb.LeaseGrantRequest(TTL=100, ID=9))
        stream = client.stream(LEASE["LeaseKeepAlive"])
        answers = []
        for lease in (9, 5):
            await stream.send(pb.LeaseKeepAliveRequest(ID=lease))
            answer = await stream.next()
            answers.append((answer.ID, answer.TTL))
        assert answers == [(9, 100), (5, 0)]


async def test_the_one_member() -> None:
    options = ServerOptions(
        name="one", peer_urls=("http://localhost:2380",), advertise_client_urls=("http://x:1",)
    )
    async with served(options) as (client, _, server):
        (member,) = (await client.call("MemberList", pb.MemberListRequest())).members
        assert (member.ID, member.name) == (server.service.core.headers.member_id, "one")
        assert (list(member.peerURLs), list(member.clientURLs)) == (["http://localhost:2380"], ["http://x:1"])
        update = pb.MemberUpdateRequest(ID=member.ID, peerURLs=["http://y:2"])
        assert list((await client.call("MemberUpdate", update)).members[0].peerURLs) == ["http://y:2"]


async def test_more_members_are_had_elsewhere() -> None:
    async with served() as (client, _, server):
        member_id = server.service.core.headers.member_id
        for name, request in (
            ("MemberAdd", pb.MemberAddRequest(peerURLs=["http://y:2"])),
            ("MemberRemove", pb.MemberRemoveRequest(ID=member_id)),
        ):
            code, text = await client.refusal(name, request)
            assert code == "FAILED_PRECONDITION"
            assert "pilothouse up --etcd-members 3" in text
            assert "pilothouse migrate" in text
        assert await client.refusal("MemberAdd", pb.MemberAddRequest(peerURLs=["bad"])) == (
            "INVALID_ARGUMENT",
            "etcdserver: given member URLs are invalid",
        )
        for name, request in (
            ("MemberRemove", pb.MemberRemoveRequest(ID=5)),
            ("MemberPromote", pb.MemberPromoteRequest(ID=5)),
        ):
            assert await client.refusal(name, request) == ("NOT_FOUND", "etcdserver: member not found")


async def test_ids_outlive_a_restart_and_the_term_grows(tmp_path: Path) -> None:
    seen = []
    for _i in range(2):
        async with served(log=SqliteLog(tmp_path / "store")) as (client, _, _):
            header = (await client.call("Range", pb.RangeRequest(key=b"a"))).header
            seen.append((header.cluster_id, header.member_id, header.raft_term))
    (first, second) = seen
    assert first[:2] == second[:2]
    assert (first[2], second[2]) == (2, 3)


async def test_a_lease_has_its_whole_time_again_after_a_restart(tmp_path: Path) -> None:
    async with served(log=SqliteLog(tmp_path / "store")) as (client, _, _):
        await client.call("LeaseGrant", pb.LeaseGrantRequest(TTL=500, ID=4))
        await client.put(b"a", lease=4)
    async with served(log=SqliteLog(tmp_path / "store")) as (client, _, _):
        life = await client.call("LeaseTimeToLive", pb.LeaseTimeToLiveRequest(ID=4, keys=True))
        assert (life.grantedTTL, list(life.keys)) == (500, [b"a"])
        assert life.TTL >= 499
