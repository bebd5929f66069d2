"""What every service is made of, and the one place where a request may be refused for who sends it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.message import Message

from pilothouse.etcd.contract import Backend, Maintenance, StoreUnavailable
from pilothouse.etcd.server.metrics import Metrics
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_RECORD = "server"


class Call(Protocol):
    """One call of one client."""

    method: str
    """`/package.Service/Name`."""
    size: int
    """Bytes of the request on the wire; of a stream's requests 0."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Headers in lower case; `token` or `authorization` is what `etcdctl --user` sends."""

    @property
    def common_name(self) -> str:
        """Of the client's certificate, "" without one."""


class Guard(Protocol):
    """Who may do what. Asked with every unary request, and by streams for every request in them."""

    async def check(self, call: Call, request: Message) -> None:
        """Raises a StoreError (`wire.errors.Refused`) for a request that may not be done."""


class NoGuard:
    """Everybody may do everything, as in an etcd without users."""

    async def check(self, call: Call, request: Message) -> None:
        """Nothing to refuse."""


Unary = Callable[[Any, Call], Awaitable[Message]]
"""`(request, call) -> response`; StoreErrors become gRPC's."""
Send = Callable[[Message | bytes], Awaitable[None]]
"""A message, or its bytes. Waits while the client does not read."""
Streaming = Callable[[Any, Send, Call], Awaitable[None]]
"""`(request or iterator of requests, send, call)`: a stream of answers, which ends when it returns."""
Requests = AsyncIterator[Any]


@dataclass(frozen=True, slots=True)
class Headers:
    """Makes the header of every answer."""

    cluster_id: int
    member_id: int
    term: int
    backend: Backend

    def at(self, revision: int) -> pb.ResponseHeader:
        return pb.ResponseHeader(
            cluster_id=self.cluster_id, member_id=self.member_id, revision=revision, raft_term=self.term
        )

    def now(self) -> pb.ResponseHeader:
        return self.at(self.backend.revision)


@dataclass(slots=True)
class Core:
    """Shared by the services of one server. The auth service puts its own `guard` here."""

    backend: Backend
    maintenance: Maintenance
    world: World
    options: ServerOptions
    headers: Headers
    metrics: Metrics
    guard: Guard


class Service:
    """Base of services: `handlers` by the names of the service's table in `wire.methods`."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def handlers(self) -> Mapping[str, Unary | Streaming]:
        raise NotImplementedError

    async def start(self) -> None:
        """Read what it keeps, before the first request."""

    async def stop(self) -> None:
        """After the last one."""


async def make_headers(backend: Backend, maintenance: Maintenance, world: World) -> Headers:
    """Ids are by chance and kept with the data; the term grows with every start, as one member's does."""
    text = await maintenance.record(_RECORD)
    known = json.loads(text) if text else {}
    kept = {
        "cluster_id": known.get("cluster_id") or world.random.getrandbits(63) | 1 << 62,
        "member_id": known.get("member_id") or world.random.getrandbits(63) | 1 << 62,
        "term": known.get("term", 1) + 1,
    }
    try:
        await maintenance.keep_record(_RECORD, json.dumps(kept).encode())
    except StoreUnavailable as error:
        # A full disk must not keep out who comes to make room.
        log.warning("the server's ids are not kept: %s", error)
    return Headers(kept["cluster_id"], kept["member_id"], kept["term"], backend)
