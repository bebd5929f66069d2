"""A client of the store that a command means, for as long as the command takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pilothouse.cli import running
from pilothouse.cli.etcd import target
from pilothouse.cli.flags import Failure, Values
from pilothouse.etcd.cluster.client import Credentials, EtcdClient
from pilothouse.etcd.cluster.tls import Tls
from pilothouse.etcd.contract import StoreUnavailable
from pilothouse.kit.world import World


@asynccontextmanager
async def connected(access: target.Access, world: World) -> AsyncIterator[EtcdClient]:
    tls = Tls(access.cacert, access.cert, access.key)
    credentials = Credentials(access.user, access.password) if access.user else None
    client = EtcdClient(
        access.endpoints,
        tls,
        world,
        credentials=credentials,
        timeout_s=access.timeout_s,
        dial_timeout_s=min(access.timeout_s, 2.0),
    )
    try:
        yield client
    finally:
        await client.close()


def run(values: Values, what: str, work: Callable[[target.Target, EtcdClient, World], Awaitable[int]]) -> int:
    """`work` on a store that runs; its exit code. Failure for one that is stopped: `what` names the command."""
    found = target.find(values)
    access = target.access(found, what)
    codes: list[int] = []

    async def _work() -> None:
        world = World()
        async with connected(access, world) as client:
            try:
                codes.append(await work(found, client, world))
            except StoreUnavailable as error:
                raise Failure(f"{error}{_hint(found)}") from None

    running.serve(values, _work())
    return codes[0]


def _hint(found: target.Target) -> str:
    if isinstance(found, target.Managed) and found.pid is None:
        return f" (the cluster seems to be stopped: pilothouse up --data-dir {found.home.data_dir})"
    return ""
