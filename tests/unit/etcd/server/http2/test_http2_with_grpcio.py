"""The transport as grpcio's client (C core) sees it, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from pilothouse.etcd.contract import LeaseNotFound
from pilothouse.etcd.server.http2.call import Call, Requests, Send, Served
from pilothouse.etcd.server.http2.server import GrpcServer
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Code
from pilothouse.etcd.wire.methods import ELECTION, KV, MAINTENANCE, WATCH, Method

BIG = 5 * 1024 * 1024


class Service:
    """Answers by what is asked for; remembers what happened to its handlers."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.pieces = 200
        self.sent = 0

    async def put(self, request: pb.PutRequest, call: Call) -> pb.PutResponse:
        if request.key == b"missing":
            raise LeaseNotFound
        if request.key == b"odd":
            raise ValueError("a secret that must not go out: 100%")
        if request.key == b"slow":
            await self._for_ever()
        header = pb.ResponseHeader(revision=len(request.value))
        return pb.PutResponse(header=header, prev_kv=pb.KeyValue(key=call.metadata.get("token", "").encode()))

    async def range(self, request: pb.RangeRequest, call: Call) -> pb.RangeResponse:
        return pb.RangeResponse(kvs=[pb.KeyValue(key=b"k", value=b"v" * request.limit)])

    async def snapshot(self, request: pb.SnapshotRequest, send: Send, call: Call) -> None:
        try:
            for _ in range(self.pieces):
                await send(pb.SnapshotResponse(blob=b"x" * 65_536))
                self.sent += 1
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def watch(self, requests: Requests, send: Send, call: Call) -> None:
        async for request in requests:
            await send(pb.WatchResponse(watch_id=request.cancel_request.watch_id))

    async def _for_ever(self) -> None:
        self.started.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class Counts:
    def __init__(self, observed: list[tuple[str, Code]]) -> None:
        self._observed = observed

    def started(self, method: Method) -> None:
        """Only ends are counted."""

    def done(self, method: Method, code: Code) -> None:
        self._observed.append((method.path.rpartition("/")[2], code))


class Client:
    def __init__(self, port: int) -> None:
        options = [("grpc.max_receive_message_length", -1)]
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)

    def method(self, method: Method) -> Any:
        kinds = (method.request_streams, method.response_streams)
        make = {
            (False, False): self.channel.unary_unary,
            (False, True): self.channel.unary_stream,
            (True, True): self.channel.stream_stream,
        }[kinds]
        return make(method.path, method.request.SerializeToString, method.response.FromString)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def observed() -> list[tuple[str, Code]]:
    return []


@pytest.fixture
async def client(service: Service, observed: list[tuple[str, Code]]) -> AsyncIterator[Client]:
    table = {
        KV["Put"]: service.put,
        KV["Range"]: service.range,
        MAINTENANCE["Snapshot"]: service.snapshot,
        WATCH["Watch"]: service.watch,
    }
    server = GrpcServer(
        {m.path: Served(m, handler) for m, handler in table.items()}, observer=Counts(observed)
    )
    listener = await asyncio.get_running_loop().create_server(server.connection, "127.0.0.1", 0)
    client = Client(listener.sockets[0].getsockname()[1])
    yield client
    await client.channel.close()
    listener.close()
    await server.stop(1.0)


async def test_calls_side_by_side(client: Client, observed: list[tuple[str, Code]]) -> None:
    put = client.method(KV["Put"])
    answers = await asyncio.gather(*(put(pb.PutRequest(value=b"v" * i)) for i in range(300)))
    assert [a.header.revision for a in answers] == list(range(300))
    assert observed == [("Put", Code.OK)] * 300


async def test_metadata_arrives(client: Client) -> None:
    answer = await client.method(KV["Put"])(pb.PutRequest(), metadata=(("token", "abc"),))
    assert answer.prev_kv.key == b"abc"


async def test_big_messages_pass_the_windows_in_both_directions(client: Client) -> None:
    answer = await client.method(KV["Put"])(pb.PutRequest(value=b"v" * 1_500_000))
    assert answer.header.revision == 1_500_000
    for _ in range(10):
        answer = await client.method(KV["Range"])(pb.RangeRequest(limit=BIG))
        assert len(answer.kvs[0].value) == BIG


@pytest.mark.parametrize(
    ("key", "code", "details"),
    [
        (b"missing", grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found"),
        (b"odd", grpc.StatusCode.INTERNAL, "internal error; see the server's log"),
    ],
)
async def test_a_failure_is_a_status(client: Client, key: bytes, code: grpc.StatusCode, details: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.method(KV["Put"])(pb.PutRequest(key=key))
    assert (caught.value.code(), caught.value.details()) == (code, details)


async def test_unknown_methods_are_unimplemented(client: Client) -> None:
    for method, details in (
        (KV["Txn"], "unknown method Txn for service etcdserverpb.KV"),
        (ELECTION["Campaign"], "unknown service v3electionpb.Election"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.method(method)(method.request())
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, details)


async def test_a_message_that_is_too_large_is_refused_and_the_connection_lives(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.method(KV["Put"])(pb.PutRequest(value=b"v" * 3_000_000))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in (caught.value.details() or "")
    assert (await client.method(KV["Put"])(pb.PutRequest(value=b"v"))).header.revision == 1


async def test_a_deadline_ends_the_handler(
    client: Client, service: Service, observed: list[tuple[str, Code]]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.method(KV["Put"])(pb.PutRequest(key=b"slow"), timeout=0.05)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await service.cancelled.wait()


async def test_a_client_that_cancels_ends_the_handler(client: Client, service: Service) -> None:
    call = client.method(KV["Put"])(pb.PutRequest(key=b"slow"))
    waiting = asyncio.ensure_future(call)
    await service.started.wait()
    call.cancel()
    await service.cancelled.wait()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_stream_in_both_directions(client: Client) -> None:
    call = client.method(WATCH["Watch"])()
    for number in range(5):
        await call.write(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=number)))
        assert (await call.read()).watch_id == number
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() == grpc.StatusCode.OK


async def test_a_sender_waits_for_a_client_that_does_not_read(client: Client, service: Service) -> None:
    """Of 130 MB only what windows and buffers hold is made; after the client has gone the sender ends."""
    service.pieces = 2_000
    call = client.method(MAINTENANCE["Snapshot"])(pb.SnapshotRequest())
    await call.read()
    before = -1
    while service.sent != before:
        before = service.sent
        await client.method(KV["Put"])(pb.PutRequest())
    assert service.sent < 1_000
    call.cancel()
    await service.cancelled.wait()


async def test_a_stream_is_read_to_its_end(client: Client, service: Service) -> None:
    total = 0
    async for message in client.method(MAINTENANCE["Snapshot"])(pb.SnapshotRequest()):
        total += len(message.blob)
    assert total == 200 * 65_536
