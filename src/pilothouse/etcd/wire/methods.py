"""Every method of etcd's v3 API: its path, its messages, and whether a side streams.

One table for the server, the client and the JSON gateway.
"""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import Message

from pilothouse.etcd.wire import etcd_pb2 as pb


class Method(NamedTuple):
    """`path` is `/package.Service/Name`."""

    path: str
    request: type[Message]
    response: type[Message]
    request_streams: bool = False
    response_streams: bool = False


def _unary(service: str, names: str, message_prefix: str = "") -> dict[str, Method]:
    """Methods whose messages are called after them."""
    return {
        name: Method(
            f"/{service}/{name}",
            getattr(pb, f"{message_prefix}{name}Request"),
            getattr(pb, f"{message_prefix}{name}Response"),
        )
        for name in names.split()
    }


KV = {
    **_unary("etcdserverpb.KV", "Range Put DeleteRange Txn"),
    "Compact": Method("/etcdserverpb.KV/Compact", pb.CompactionRequest, pb.CompactionResponse),
}
WATCH = {"Watch": Method("/etcdserverpb.Watch/Watch", pb.WatchRequest, pb.WatchResponse, True, True)}
LEASE = {
    **_unary("etcdserverpb.Lease", "LeaseGrant LeaseRevoke LeaseTimeToLive LeaseLeases"),
    "LeaseKeepAlive": Method(
        "/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse, True, True
    ),
}
CLUSTER = _unary("etcdserverpb.Cluster", "MemberAdd MemberRemove MemberUpdate MemberList MemberPromote")
MAINTENANCE = {
    **_unary("etcdserverpb.Maintenance", "Alarm Status Defragment Hash HashKV MoveLeader Downgrade"),
    "Snapshot": Method(
        "/etcdserverpb.Maintenance/Snapshot", pb.SnapshotRequest, pb.SnapshotResponse, response_streams=True
    ),
}
AUTH = {
    **_unary("etcdserverpb.Auth", "AuthEnable AuthDisable AuthStatus Authenticate"),
    **_unary(
        "etcdserverpb.Auth",
        "UserAdd UserGet UserList UserDelete UserChangePassword UserGrantRole UserRevokeRole "
        "RoleAdd RoleGet RoleList RoleDelete RoleGrantPermission RoleRevokePermission",
        "Auth",
    ),
}
LOCK = _unary("v3lockpb.Lock", "Lock Unlock")
ELECTION = {
    **_unary("v3electionpb.Election", "Campaign Proclaim Leader Resign"),
    "Observe": Method(
        "/v3electionpb.Election/Observe", pb.LeaderRequest, pb.LeaderResponse, response_streams=True
    ),
}
