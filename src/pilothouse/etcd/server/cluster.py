"""The Cluster service of a store that is alone: it lists itself, and says how to get to several members."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message

from pilothouse.etcd.server.core import Call, Service, Streaming, Unary
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Refused

_RECORD = "peer-urls"
_ALONE = (
    "etcdserver: this store is served by a single process and takes no members; for a cluster start "
    "`pilothouse up --etcd-members 3`, or move the data into one with `pilothouse migrate`"
)


class ClusterService(Service):
    def handlers(self) -> Mapping[str, Unary | Streaming]:
        return {
            "MemberList": self.member_list,
            "MemberUpdate": self.member_update,
            "MemberAdd": self.member_add,
            "MemberRemove": self.member_remove,
            "MemberPromote": self.member_promote,
        }

    async def start(self) -> None:
        text = await self.core.maintenance.record(_RECORD)
        self._peer_urls = tuple(json.loads(text)) if text else self.core.options.peer_urls

    async def member_list(self, request: pb.MemberListRequest, call: Call) -> pb.MemberListResponse:
        return pb.MemberListResponse(header=self.core.headers.now(), members=[self._member()])

    async def member_update(self, request: pb.MemberUpdateRequest, call: Call) -> pb.MemberUpdateResponse:
        """Peer URLs are kept and mean nothing here."""
        self._require_known(request.ID)
        _require_urls(request.peerURLs)
        self._peer_urls = tuple(request.peerURLs)
        await self.core.maintenance.keep_record(_RECORD, json.dumps(self._peer_urls).encode())
        return pb.MemberUpdateResponse(header=self.core.headers.now(), members=[self._member()])

    async def member_add(self, request: pb.MemberAddRequest, call: Call) -> Message:
        _require_urls(request.peerURLs)
        return await self.refuse(request, call)

    async def member_remove(self, request: pb.MemberRemoveRequest, call: Call) -> Message:
        self._require_known(request.ID)
        return await self.refuse(request, call)

    async def member_promote(self, request: pb.MemberPromoteRequest, call: Call) -> Message:
        self._require_known(request.ID)
        raise Refused("etcdserver: can only promote a learner member")

    async def refuse(self, request: Message, call: Call) -> Message:
        raise Refused(_ALONE, grpc.StatusCode.FAILED_PRECONDITION)

    def _require_known(self, member_id: int) -> None:
        if member_id != self.core.headers.member_id:
            raise Refused("etcdserver: member not found")

    def _member(self) -> pb.Member:
        options = self.core.options
        return pb.Member(
            ID=self.core.headers.member_id,
            name=options.name,
            peerURLs=self._peer_urls,
            clientURLs=options.advertise_client_urls,
        )


def _require_urls(urls: Collection[str]) -> None:
    if not urls or not all(_is_peer_url(url) for url in urls):
        raise Refused("etcdserver: given member URLs are invalid")


def _is_peer_url(url: str) -> bool:
    """As etcd's types.NewURLs: a scheme, an address with a port, and no path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port is not None and not parts.path
