"""A TCP port that forwards: bytes go both ways, as they come, until either side ends.

client ──▶ choose ─┬─ an endpoint ──▶ connect, copy both ways
                   ├─ a simulated one ──▶ the page, when the client has said something
                   └─ none ──▶ reset, as a machine without that port does
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from pilothouse.cloud.providers.local import page
from pilothouse.cloud.providers.local.endpoints import Choose, Endpoint
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

CONNECT_S = 5.0
TALK_S = 5.0
"""How long a client of a simulated pod may take to say something."""
CONNECTIONS_MAX = 1024
"""Of one port at a time; more are reset."""
_CHUNK = 1 << 16
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Front:
    """Where a port listens and whom it speaks for."""

    address: str
    port: int
    service: str
    """NAMESPACE/NAME"""


class TcpForwarder:
    def __init__(
        self, front: Front, choose: Choose, is_simulated: Callable[[Endpoint], bool], world: World
    ) -> None:
        self.front = front
        self._choose = choose
        self._is_simulated = is_simulated
        self._world = world
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """OSError when the address cannot be listened on."""
        self._server = await asyncio.start_server(
            self._accepted, self.front.address, self.front.port, limit=_CHUNK
        )

    async def stop(self) -> None:
        """Connections end with it."""
        if self._server is not None:
            self._server.close()
        running = list(self._open)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= CONNECTIONS_MAX:
            _reset(writer)
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            peer = writer.get_extra_info("peername")
            endpoint = self._choose(peer[0]) if peer else None
            if endpoint is None:
                _reset(writer)
            elif self._is_simulated(endpoint):
                await self._excuse(reader, writer, endpoint)
            else:
                await self._forward(reader, writer, endpoint)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.info("%s: connection to port %d ended: %s", self.front.service, self.front.port, error)
            _reset(writer)
        finally:
            writer.close()

    async def _excuse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: Endpoint
    ) -> None:
        if not await self._world.within(TALK_S, reader.read(_CHUNK)):
            return
        writer.write(page.of(self.front.service, self.front.port, endpoint))
        await self._world.within(TALK_S, writer.drain())

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: Endpoint
    ) -> None:
        connecting = asyncio.open_connection(endpoint.address, endpoint.port, limit=_CHUNK)
        inner_reader, inner_writer = await self._world.within(CONNECT_S, connecting)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, inner_writer))
                both.create_task(_copy(inner_reader, writer))
        except* OSError as errors:
            raise errors.exceptions[0] from None
        finally:
            inner_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side has said all it has to say; the other may go on."""
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End with RST in place of FIN: the client sees an error, not an empty answer."""
    inner = writer.get_extra_info("socket")
    if inner is not None:
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
