"""A member is removed while it is being asked: the question goes to another, and the store is not closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from pilothouse.etcd.cluster.client import EtcdClient, Retry, Vital
from pilothouse.etcd.cluster.watch import WatchHub
from pilothouse.etcd.contract import OutcomeUnknown, StoreClosed
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import KV, MAINTENANCE, WATCH
from pilothouse.kit.world import World

Serve = Callable[[Callable[[Any, Any], Awaitable[bytes]]], Awaitable[str]]


async def _answers(request: Any, context: Any) -> bytes:
    return pb.RangeResponse(count=7).SerializeToString()


class _Silent:
    """Takes a question and gives no answer; `asked` tells that one came."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def answer(self, request: Any, context: Any) -> bytes:
        self.asked.set()
        await asyncio.Event().wait()
        return b""


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server that answers Range and Put like this; its URL."""
    servers = []

    async def start(handle: Callable[[Any, Any], Awaitable[bytes]]) -> str:
        server = grpc.aio.server()

        async def status(request: Any, context: Any) -> bytes:
            return pb.StatusResponse(leader=1).SerializeToString()

        async def watch(requests: Any, context: Any) -> None:
            await asyncio.Event().wait()

        for method, kind, function in (
            (KV["Range"], grpc.unary_unary_rpc_method_handler, handle),
            (KV["Put"], grpc.unary_unary_rpc_method_handler, handle),
            (MAINTENANCE["Status"], grpc.unary_unary_rpc_method_handler, status),
            (WATCH["Watch"], grpc.stream_stream_rpc_method_handler, watch),
        ):
            _, service, name = method.path.split("/")
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {name: kind(function)}),)
            )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"http://127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(0)


async def test_a_read_goes_on_at_another_member(serve: Serve) -> None:
    silent = _Silent()
    first, second = await serve(silent.answer), await serve(_answers)
    client = EtcdClient([first], None, World(), timeout_s=10)
    reading = asyncio.ensure_future(client.call(KV["Range"], pb.RangeRequest(key=b"x")))
    await asyncio.wait_for(silent.asked.wait(), 5)
    await client.set_endpoints([second])
    assert (await asyncio.wait_for(reading, 5)).count == 7
    await client.close()


async def test_of_a_write_nobody_knows_what_became(serve: Serve) -> None:
    silent = _Silent()
    first, second = await serve(silent.answer), await serve(_answers)
    client = EtcdClient([first], None, World(), timeout_s=10)
    writing = asyncio.ensure_future(client.call(KV["Put"], pb.PutRequest(key=b"x"), retry=Retry.NEVER))
    await asyncio.wait_for(silent.asked.wait(), 5)
    await client.set_endpoints([second])
    with pytest.raises(OutcomeUnknown):
        await asyncio.wait_for(writing, 5)
    await client.close()


async def test_a_connection_that_is_being_made_is_given_up_for_another(serve: Serve) -> None:
    second = await serve(_answers)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, and says nothing
        first = f"http://127.0.0.1:{mute.getsockname()[1]}"
        client = EtcdClient([first], None, World(), timeout_s=10)
        reading = asyncio.ensure_future(client.call(KV["Range"], pb.RangeRequest(key=b"x")))
        opening = asyncio.ensure_future(client.stream(WATCH["Watch"]))
        await asyncio.sleep(0.2)
        await client.set_endpoints([second])
        assert (await asyncio.wait_for(reading, 5)).count == 7
        assert (await asyncio.wait_for(opening, 5)).endpoint == second
        await client.close()


async def test_a_closed_client_says_so(serve: Serve) -> None:
    silent = _Silent()
    client = EtcdClient([await serve(silent.answer)], None, World(), timeout_s=10)
    reading = asyncio.ensure_future(client.call(KV["Range"], pb.RangeRequest(key=b"x")))
    await asyncio.wait_for(silent.asked.wait(), 5)
    await client.close()
    with pytest.raises(StoreClosed):
        await asyncio.wait_for(reading, 5)


async def test_a_member_that_has_lost_its_leader_loses_its_watches(serve: Serve) -> None:
    """etcd itself ends them seconds later; one that does not tell keeps them."""
    lonely, well = await serve(_answers), await serve(_answers)
    world = World()
    client = EtcdClient([lonely, well], None, world, timeout_s=10)
    leaders = {lonely: 1, well: 1}
    opened: list[str] = []
    moved = asyncio.Event()
    open_stream = client.stream

    async def stream(*arguments: Any, **options: Any) -> Any:
        found = await open_stream(*arguments, **options)
        opened.append(found.endpoint)
        if found.endpoint == well:
            moved.set()
        leaders[lonely] = 0
        return found

    async def vital(endpoint: str) -> Vital:
        return Vital(2, leaders[endpoint])

    client.stream, client.vital = stream, vital  # type: ignore[method-assign]
    hub = WatchHub(world, client, lambda revision, compacted: None)
    hub.watch(b"x", b"", 1, 0, prev=False)
    await asyncio.wait_for(moved.wait(), 10)
    assert opened == [lonely, well]
    await hub.close()
    await client.close()
