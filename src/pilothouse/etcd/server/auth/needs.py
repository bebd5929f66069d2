"""What a request needs, read from the request alone (etcd server/etcdserver: apply_auth.go, v3_server.go, v3rpc).

    KV range                   read of the range
    put                        write of the key; read too with prev_kv; write of what the lease holds already
    delete                     write of the range; read too with prev_kv
    txn                        read of every compared range, and what all operations of both branches need
    lease revoke, keep alive   write of every key that the lease holds
    lease time to live         with keys: read of every key that the lease holds; else to be somebody
    leases                     read of every key that any lease holds
    lease grant, member list   to be somebody
    maintenance, membership, compaction and management of users need the role root
    user get, role get         one's own too

Where etcd 3.6 lets more through than it should, this does not: a put in a transaction is held to the same rules as one
outside of it, and alarms and compaction, which reach everybody's data, are for root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pilothouse.etcd.server.auth.accounts import Access
from pilothouse.etcd.server.auth.ranges import OPEN_END, KeyRange
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire import methods


class Keys(NamedTuple):
    """Access to a range of keys."""

    access: Access
    keys: KeyRange


class LeaseKeys(NamedTuple):
    """Access to all that a lease holds; `lease` 0 is every lease."""

    access: Access
    lease: int


class Somebody(NamedTuple):
    """A user, whoever it is."""


class Root(NamedTuple):
    """The role root."""


class Oneself(NamedTuple):
    """The role root, or to be this user."""

    user: str


class Member(NamedTuple):
    """The role root, or to have this role."""

    role: str


Need = Keys | LeaseKeys | Somebody | Root | Oneself | Member


def _range(m: pb.RangeRequest) -> Iterator[Need]:
    yield Keys(Access.READ, KeyRange(m.key, m.range_end))


def _put(m: pb.PutRequest) -> Iterator[Need]:
    yield Keys(Access.WRITE, KeyRange(m.key))
    if m.lease:
        yield LeaseKeys(Access.WRITE, m.lease)
    if m.prev_kv:
        yield Keys(Access.READ, KeyRange(m.key))


def _delete(m: pb.DeleteRangeRequest) -> Iterator[Need]:
    yield Keys(Access.WRITE, KeyRange(m.key, m.range_end))
    if m.prev_kv:
        yield Keys(Access.READ, KeyRange(m.key, m.range_end))


def _txn(m: pb.TxnRequest) -> Iterator[Need]:
    for compare in m.compare:
        yield Keys(Access.READ, KeyRange(compare.key, compare.range_end))
    for branch in (m.success, m.failure):
        for op in branch:
            kind = op.WhichOneof("request")
            if kind is not None:
                yield from _OPERATIONS[kind](getattr(op, kind))


_OPERATIONS: Mapping[str, Callable[[Any], Iterator[Need]]] = {
    "request_range": _range,
    "request_put": _put,
    "request_delete_range": _delete,
    "request_txn": _txn,
}


def _watch(m: pb.WatchRequest) -> Iterator[Need]:
    """Only a new watch needs anything. No key is the first key."""
    if m.HasField("create_request"):
        create = m.create_request
        yield Keys(Access.READ, KeyRange(create.key or OPEN_END, create.range_end))


def _lease_writes(m: pb.LeaseRevokeRequest | pb.LeaseKeepAliveRequest) -> Iterator[Need]:
    yield Somebody()
    yield LeaseKeys(Access.WRITE, m.ID)


def _lease_time(m: pb.LeaseTimeToLiveRequest) -> Iterator[Need]:
    yield Somebody()
    if m.keys:
        yield LeaseKeys(Access.READ, m.ID)


def _leases(m: pb.LeaseLeasesRequest) -> Iterator[Need]:
    yield Somebody()
    yield LeaseKeys(Access.READ, 0)


def _somebody(m: Any) -> Iterator[Need]:
    yield Somebody()


def _root(m: Any) -> Iterator[Need]:
    yield Root()


def _nothing(m: Any) -> Iterator[Need]:
    return iter(())


def _user_get(m: pb.AuthUserGetRequest) -> Iterator[Need]:
    yield Oneself(m.name)


def _role_get(m: pb.AuthRoleGetRequest) -> Iterator[Need]:
    yield Member(m.role)


def _lock(m: pb.LockRequest) -> Iterator[Need]:
    """A lock reads and writes the keys below its name; an election too."""
    yield Keys(Access.READ, _below(m.name))
    yield Keys(Access.WRITE, _below(m.name))
    if m.lease:
        yield LeaseKeys(Access.WRITE, m.lease)


def _unlock(m: pb.UnlockRequest) -> Iterator[Need]:
    yield Keys(Access.WRITE, KeyRange(m.key))


def _leader(m: pb.LeaderRequest) -> Iterator[Need]:
    yield Keys(Access.READ, _below(m.name))


def _held(m: pb.ProclaimRequest | pb.ResignRequest) -> Iterator[Need]:
    yield Keys(Access.READ, KeyRange(m.leader.key))
    yield Keys(Access.WRITE, KeyRange(m.leader.key))


def _below(name: bytes) -> KeyRange:
    return KeyRange(name + b"/", name + b"0")  # "0" comes after "/"


_SPECIAL: Mapping[str, Callable[[Any], Iterator[Need]]] = {
    methods.KV["Range"].path: _range,
    methods.KV["Put"].path: _put,
    methods.KV["DeleteRange"].path: _delete,
    methods.KV["Txn"].path: _txn,
    methods.WATCH["Watch"].path: _watch,
    methods.LEASE["LeaseGrant"].path: _somebody,
    methods.LEASE["LeaseRevoke"].path: _lease_writes,
    methods.LEASE["LeaseKeepAlive"].path: _lease_writes,
    methods.LEASE["LeaseTimeToLive"].path: _lease_time,
    methods.LEASE["LeaseLeases"].path: _leases,
    methods.CLUSTER["MemberList"].path: _somebody,
    methods.AUTH["Authenticate"].path: _nothing,
    methods.AUTH["UserGet"].path: _user_get,
    methods.AUTH["RoleGet"].path: _role_get,
    methods.LOCK["Lock"].path: _lock,
    methods.LOCK["Unlock"].path: _unlock,
    methods.ELECTION["Campaign"].path: _lock,
    methods.ELECTION["Leader"].path: _leader,
    methods.ELECTION["Observe"].path: _leader,
    methods.ELECTION["Proclaim"].path: _held,
    methods.ELECTION["Resign"].path: _held,
}


def needs_of(path: str, request: Any) -> Iterator[Need]:
    """The needs of one request (of a stream: of one message of it). What is not in the table is for root."""
    return _SPECIAL.get(path, _root)(request)
