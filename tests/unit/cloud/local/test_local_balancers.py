"""Services of the local cloud, on a whole cluster and real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

from pilothouse.api.resources import EVENTS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from tests.etcds import free_port


@asynccontextmanager
async def _cluster() -> AsyncIterator[ResourceClient]:
    async with Cluster(ClusterOptions(secure_port=None, nodes=1, cloud="local")) as cluster:
        yield cluster.client()


def _listening(address: str, port: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((address, port))
    found.listen()
    return found


async def _service(client: ResourceClient, name: str, port: int, **spec: str) -> None:
    body: Obj = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}
    body["spec"] = {"type": "LoadBalancer", "ports": [{"port": port}], **spec}
    await client.create(SERVICES, body, "default")


async def _address(client: ResourceClient, name: str) -> str:
    async def check() -> bool:
        return bool((await client.get(SERVICES, name, "default"))["status"]["loadBalancer"].get("ingress"))

    await _soon(check)
    found: str = (await client.get(SERVICES, name, "default"))["status"]["loadBalancer"]["ingress"][0]["ip"]
    return found


async def _soon(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await check():  # noqa: ASYNC110 - a real server tells nobody when
            await asyncio.sleep(0.05)


async def test_a_new_service_takes_an_address_whose_ports_nobody_has() -> None:
    """Two clusters of one machine give away the same addresses."""
    port = free_port()
    async with _cluster() as first, _cluster() as second:
        await _service(first, "web", port)
        one = await _address(first, "web")
        await _service(second, "web", port)
        other = await _address(second, "web")
        assert one != other
        await second.patch(SERVICES, "web", {"metadata": {"annotations": {"a": "b"}}}, "default")
        _, writer = await asyncio.open_connection(other, port)
        writer.close()
        assert await _address(second, "web") == other, "it stays"


async def test_an_address_that_was_asked_for_is_not_exchanged() -> None:
    port = free_port()
    with closing(_listening("127.42.77.7", port)):
        async with _cluster() as client:
            await _service(client, "web", port, loadBalancerIP="127.42.77.7")

            async def told() -> bool:
                events = (await client.list(EVENTS, "default"))["items"]
                return any(f"cannot listen on 127.42.77.7 port {port}/TCP" in e["message"] for e in events)

            await _soon(told)
