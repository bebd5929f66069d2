"""The members of an etcd cluster, whoever runs it: what they say of themselves, and changes one at a time.

The rules of a safe change (https://etcd.io/docs/v3.6/op-guide/runtime-configuration/), as pure functions of what the
members said: each gives the reason for a refusal, or "".

    add       as a learner, which has no vote and loses no quorum; one learner at a time
    promote   a learner that is in sync; it must be up
    remove    a learner always; a voter if the voters that stay and are up make a quorum of those that stay
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pilothouse.etcd.cluster.client import EtcdClient
from pilothouse.etcd.contract import Range, StoreError, StoreUnavailable
from pilothouse.etcd.wire import convert
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import CLUSTER, KV, MAINTENANCE
from pilothouse.kit.world import World

_STATUS_TIMEOUT_S = 2.0
_CHANGE_TIMEOUT_S = 30.0
"""etcd takes a change when its members have been connected for five seconds, and is asked again until then."""
_IN_SYNC_WAIT_S = 0.3
_NOT_IN_SYNC = "etcdserver: can only promote a learner member which is in sync with leader"
_HEALTH_KEY = b"health"
"""etcdctl's (endpoint health): any key will do, a denied read is a healthy one."""


@dataclass(frozen=True, slots=True)
class MemberState:
    """One member: what the cluster knows of it, and what it answered itself. `status` None: it is down, `error` says
    how. A member that was added and never started has no name."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool
    status: Any = None
    error: str = ""

    @property
    def is_up(self) -> bool:
        """It answers, and follows a leader."""
        return self.status is not None and self.status.leader != 0

    @property
    def is_leader(self) -> bool:
        return self.status is not None and self.status.leader == self.id != 0

    @property
    def label(self) -> str:
        return f"{self.name} ({self.id:x})" if self.name else f"{self.id:x}"


# -- what they say --------------------------------------------------------------------------------------------


async def list_members(client: EtcdClient) -> list[MemberState]:
    """The members that the cluster has, by name; nobody is asked for a status. Needs a quorum."""
    return _known((await client.call(CLUSTER["MemberList"], pb.MemberListRequest(linearizable=True))).members)


def _known(members: Iterable[Any]) -> list[MemberState]:
    found = (MemberState(m.ID, m.name, tuple(m.peerURLs), tuple(m.clientURLs), m.isLearner) for m in members)
    return sorted(found, key=lambda member: (member.name == "", member.name, member.id))


async def survey(client: EtcdClient, timeout_s: float = _STATUS_TIMEOUT_S) -> list[MemberState]:
    """All members, each asked for its status at the same time. Answered by any one member that is up, with or without
    a quorum."""
    members = _known((await client.call(CLUSTER["MemberList"], pb.MemberListRequest())).members)
    return list(await asyncio.gather(*(_asked(client, member, timeout_s) for member in members)))


async def _asked(client: EtcdClient, member: MemberState, timeout_s: float) -> MemberState:
    if not member.client_urls:
        return _with(member, None, "it was added and has not started yet")
    error = ""
    for url in member.client_urls:
        try:
            return _with(member, await status_of(client, url, timeout_s), "")
        except StoreError as failure:
            error = str(failure)
    return _with(member, None, error)


def _with(member: MemberState, status: Any, error: str) -> MemberState:
    return MemberState(
        member.id, member.name, member.peer_urls, member.client_urls, member.is_learner, status, error
    )


async def status_of(client: EtcdClient, endpoint: str, timeout_s: float = _STATUS_TIMEOUT_S) -> Any:
    """What one member says of itself: the StatusResponse."""
    return await client.call(
        MAINTENANCE["Status"], pb.StatusRequest(), endpoint=endpoint, timeout_s=timeout_s
    )


async def check_health(client: EtcdClient, endpoint: str, timeout_s: float) -> str:
    """ "" when the member answers a read that needs the quorum and knows of no alarm; else what is wrong (etcdctl
    endpoint health)."""
    request = convert.range_message(Range(_HEALTH_KEY))
    try:
        await client.call(KV["Range"], request, endpoint=endpoint, timeout_s=timeout_s)
        alarms = await client.call(
            MAINTENANCE["Alarm"],
            pb.AlarmRequest(action=pb.AlarmRequest.GET),
            endpoint=endpoint,
            timeout_s=timeout_s,
        )
    except StoreError as error:
        return "" if "permission denied" in str(error) else str(error)
    names = sorted({pb.AlarmType.Name(alarm.alarm) for alarm in alarms.alarms})
    return f"alarms are on: {', '.join(names)}" if names else ""


# -- the rules ------------------------------------------------------------------------------------------------


def quorum(voters: int) -> int:
    return voters // 2 + 1


def why_not_add(members: Sequence[MemberState]) -> str:
    learner = next((member for member in members if member.is_learner), None)
    if learner is not None:
        return (
            f"member {learner.label} is a learner still, and a cluster changes by one member at a time: promote or "
            "remove it first"
        )
    down = [member for member in members if not member.is_up]
    if down:
        return (
            f"{_down(members)}, and a cluster takes a new member only when all others are up: bring "
            f"{'it' if len(down) == 1 else 'them'} back, or remove {'it' if len(down) == 1 else 'them'} first"
        )
    return ""


def why_not_promote(members: Sequence[MemberState], member: MemberState) -> str:
    if not member.is_learner:
        return f"member {member.label} has a vote already"
    if not member.is_up:
        return f"member {member.label} is not up ({member.error or 'it has no leader'}): start it first"
    return _why_no_quorum(members, "a member is promoted by a vote")


def why_not_remove(members: Sequence[MemberState], member: MemberState) -> str:
    """Of the voters that stay, those that are up must be a quorum."""
    if member.is_learner:
        return _why_no_quorum(members, "a member is removed by a vote")
    staying = [other for other in members if not other.is_learner and other.id != member.id]
    if not staying:
        return f"member {member.label} is the only one with a vote: without it there is no cluster"
    up = [other for other in staying if other.is_up]
    needed = quorum(len(staying))
    if len(up) >= needed:
        return _why_no_quorum(members, "a member is removed by a vote")
    return (
        f"without {member.label} the cluster has {_count(len(staying), 'voter')} and needs {needed} of them up, but "
        f"{_down(staying)}: bring {'it' if len(staying) - len(up) == 1 else 'them'} back first, or remove "
        "the one that is down instead"
    )


def _why_no_quorum(members: Sequence[MemberState], what: str) -> str:
    voters = [member for member in members if not member.is_learner]
    up = sum(member.is_up for member in voters)
    if up >= quorum(len(voters)):
        return ""
    return (
        f"{what}, and the cluster has no quorum: {up} of {_count(len(voters), 'voter')} are up, "
        f"{quorum(len(voters))} are needed; {_down(voters)}"
    )


def _down(members: Sequence[MemberState]) -> str:
    down = [member.label for member in members if not member.is_up]
    return f"{' and '.join(down)} {'is' if len(down) == 1 else 'are'} down"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def pick(members: Sequence[MemberState], wanted: str) -> MemberState:
    """The member with this id (hexadecimal, as etcdctl prints it) or this name. StoreError names those there are."""
    found = [m for m in members if m.name == wanted or f"{m.id:x}" == wanted.lower().removeprefix("0x")]
    if len(found) == 1:
        return found[0]
    there = ", ".join(member.label for member in members)
    if found:
        raise StoreError(f"{len(found)} members are called {wanted}: name one by its id ({there})")
    raise StoreError(f"there is no member {wanted}: there are {there}")


# -- changes --------------------------------------------------------------------------------------------------


class ChangeRefused(StoreError):
    """A change that would do harm; the message is the reason."""


async def add(client: EtcdClient, peer_urls: Sequence[str]) -> Any:
    """Add a learner: the MemberAddResponse. ChangeRefused with the reason."""
    _allow(why_not_add(await survey(client)))
    request = pb.MemberAddRequest(peerURLs=list(peer_urls), isLearner=True)
    return await client.call(CLUSTER["MemberAdd"], request, timeout_s=_CHANGE_TIMEOUT_S)


async def promote(client: EtcdClient, wanted: str, world: World, patience_s: float = 60.0) -> MemberState:
    """Give a learner its vote, as soon as it has caught up with the leader."""
    member = pick(await survey(client), wanted)
    until_s = world.clock.monotonic() + patience_s
    while True:
        members = await survey(client)
        member = pick(members, f"{member.id:x}")
        _allow(why_not_promote(members, member))
        try:
            await client.call(CLUSTER["MemberPromote"], pb.MemberPromoteRequest(ID=member.id))
        except StoreError as error:
            late = world.clock.monotonic() > until_s
            if str(error) != _NOT_IN_SYNC or late:
                raise
            await world.clock.sleep(_IN_SYNC_WAIT_S)
        else:
            return member


async def remove(client: EtcdClient, wanted: str) -> MemberState:
    """Take a member out; a leader hands over first. ChangeRefused with the reason."""
    members = await survey(client)
    member = pick(members, wanted)
    _allow(why_not_remove(members, member))
    if member.is_leader:
        await hand_over(client, members, member)
    keep = [url for other in members if other.id != member.id and other.is_up for url in other.client_urls]
    await remove_by_id(client, member.id, keep[0])
    return member


async def remove_by_id(client: EtcdClient, member_id: int, endpoint: str | None = None) -> None:
    """Without asking whether it is wise; `endpoint` is one that stays."""
    request = pb.MemberRemoveRequest(ID=member_id)
    await client.call(CLUSTER["MemberRemove"], request, endpoint=endpoint, timeout_s=_CHANGE_TIMEOUT_S)


async def hand_over(client: EtcdClient, members: Sequence[MemberState], leader: MemberState) -> MemberState:
    """Move the leadership to the member that is furthest; that member. Only the leader itself can do it."""
    heirs = [m for m in members if m.is_up and not m.is_learner and m.id != leader.id]
    if not heirs:
        raise ChangeRefused(f"nobody can take over from {leader.label}: no other voter is up")
    heir = max(heirs, key=lambda member: member.status.raftAppliedIndex)
    request = pb.MoveLeaderRequest(targetID=heir.id)
    await client.call(MAINTENANCE["MoveLeader"], request, endpoint=leader.client_urls[0])
    return heir


def _allow(reason: str) -> None:
    if reason:
        raise ChangeRefused(reason)


# -- defragmentation ------------------------------------------------------------------------------------------


def defrag_order(members: Sequence[MemberState]) -> list[MemberState]:
    """Those that are up, the leader last: a member answers nobody while it defragments, so the cluster loses its
    leader once, and as late as can be."""
    return sorted((member for member in members if member.status is not None), key=lambda m: m.is_leader)


async def defragment(client: EtcdClient, endpoint: str, timeout_s: float) -> None:
    """StoreUnavailable when it takes longer."""
    await client.call(
        MAINTENANCE["Defragment"], pb.DefragmentRequest(), endpoint=endpoint, timeout_s=timeout_s
    )


async def healthy_again(client: EtcdClient, endpoint: str, world: World, patience_s: float = 30.0) -> None:
    """Until a member serves again. StoreUnavailable if it does not in time."""
    until_s = world.clock.monotonic() + patience_s
    while why := await check_health(client, endpoint, _STATUS_TIMEOUT_S):
        if world.clock.monotonic() > until_s:
            raise StoreUnavailable(f"{endpoint} does not serve again after {patience_s:g} s: {why}")
        await world.clock.sleep(_IN_SYNC_WAIT_S)
