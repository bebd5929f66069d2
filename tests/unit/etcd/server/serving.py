"""A served store in this process, and a client that sends messages as they are."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc

from pilothouse.etcd.contract import Maintenance
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import Log, NoLog
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.server.server import EtcdServer
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import CLUSTER, KV, LEASE, WATCH, Method
from pilothouse.kit.world import World

METHODS = {**KV, **LEASE, **CLUSTER}


class Client:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(self, name: str, request: Any) -> Any:
        method = METHODS[name]
        return await self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(request, timeout=10)

    async def put(self, key: bytes, value: bytes = b"v", **more: Any) -> Any:
        return await self.call("Put", pb.PutRequest(key=key, value=value, **more))

    async def refusal(self, name: str, request: Any) -> tuple[str, str]:
        """The status and words of a call that must fail."""
        try:
            answer = await self.call(name, request)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        raise AssertionError(f"not refused: {answer}")

    def stream(self, method: Method) -> Stream:
        return Stream(
            self._channel.stream_stream(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )()
        )

    def watch(self) -> Stream:
        return self.stream(WATCH["Watch"])


class Stream:
    def __init__(self, call: Any) -> None:
        self._call = call

    async def send(self, message: Any) -> None:
        await self._call.write(message)

    async def create(self, key: bytes, range_end: bytes = b"", **more: Any) -> pb.WatchResponse:
        """Its answer, which is the next one of the stream."""
        create = pb.WatchCreateRequest(key=key, range_end=range_end, **more)
        await self.send(pb.WatchRequest(create_request=create))
        return await self.next()

    async def next(self) -> Any:
        return await asyncio.wait_for(self._call.read(), 10)

    def cancel(self) -> None:
        self._call.cancel()


@asynccontextmanager
async def served(
    options: ServerOptions | None = None, log: Log | None = None, world: World | None = None
) -> AsyncIterator[tuple[Client, EmbeddedBackend, EtcdServer]]:
    """A store in memory, unless a log is given, on a socket of its own."""
    world = world or World()
    options = options or ServerOptions()
    backend = await open_backend(world, log or NoLog())
    with tempfile.TemporaryDirectory(prefix="ph-") as directory:
        path = Path(directory) / "etcd.sock"
        options.listen_client_urls = (*options.listen_client_urls, f"unix://{path}")
        server = EtcdServer(backend, cast(Maintenance, backend), world, options)
        try:
            await server.start()
            async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
                yield Client(channel), backend, server
        finally:
            await server.stop()
            await backend.close()
