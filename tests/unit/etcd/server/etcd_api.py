"""The services over a store in memory, called as a transport calls them, without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pilothouse.etcd.contract import Backend
from pilothouse.etcd.embedded.backend import open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.etcd.server.core import Core
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.server.service import make_core
from pilothouse.etcd.server.services import Bound, bind
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import AUTH, Method
from pilothouse.kit.world import World


class Caller:
    """Who calls: see `core.Call`."""

    def __init__(self, method: str, size: int, metadata: Mapping[str, str], common_name: str) -> None:
        self.method, self.size, self.metadata, self.common_name = method, size, metadata, common_name


class Api:
    """`await api(KV["Put"], pb.PutRequest(...))`."""

    def __init__(self, core: Core, bound: Mapping[str, Bound]) -> None:
        self.core = core
        self.backend: Backend = core.backend
        self._bound = bound
        self.metadata: dict[str, str] = {}
        self.common_name = ""

    async def __call__(self, method: Method, request: Any) -> Any:
        call = self._call(method, request.ByteSize())
        await self.core.guard.check(call, request)
        return await self._bound[method.path].handler(request, call)  # type: ignore[call-arg, arg-type]

    async def stream(self, method: Method, request: Any) -> list[Any]:
        """All answers of a stream that ends."""
        answers: list[Any] = []

        async def send(message: Any) -> None:
            answers.append(message)

        await self._streaming(method, request, send)
        return answers

    @asynccontextmanager
    async def following(self, method: Method, request: Any) -> AsyncIterator[asyncio.Queue[Any]]:
        """The answers of a stream, as they come."""
        answers: asyncio.Queue[Any] = asyncio.Queue()
        task = asyncio.create_task(self._streaming(method, request, answers.put))
        try:
            yield answers
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _streaming(self, method: Method, request: Any, send: Any) -> None:
        call = self._call(method, request.ByteSize())
        await self.core.guard.check(call, request)
        await self._bound[method.path].handler(request, send, call)  # type: ignore[call-arg]

    def _call(self, method: Method, size: int) -> Caller:
        return Caller(method.path, size, dict(self.metadata), self.common_name)

    async def login(self, name: str, password: str) -> None:
        answer = await self(AUTH["Authenticate"], pb.AuthenticateRequest(name=name, password=password))
        self.metadata = {"token": answer.token}

    def anonymous(self) -> None:
        self.metadata = {}


async def open_api(
    world: World | None = None, backend: Any = None, options: ServerOptions | None = None
) -> Api:
    """Over an ephemeral store unless another is given; passwords are hashed as fast as can be."""
    world = world or World()
    options = options or ServerOptions()
    options.bcrypt_cost = 4
    kept = backend or await open_backend(world, NoLog())
    core = await make_core(kept, kept, world, options)
    services, bound = bind(core)
    for service in services:
        await service.start()
    return Api(core, bound)
