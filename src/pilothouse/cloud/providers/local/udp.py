"""A UDP port that forwards datagrams: each client has a socket of its own towards its endpoint, so that answers find
their way back. Datagrams to simulated pods are dropped, as by a machine that runs nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pilothouse.cloud.providers.local.endpoints import Choose, Endpoint
from pilothouse.cloud.providers.local.tcp import Front
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

IDLE_S = 30.0
"""A client that is silent for so long is forgotten (conntrack's timeout of UDP)."""
CLIENTS_MAX = 1024
_WAITING_MAX = 64

Address = tuple[Any, ...]


class UdpForwarder(asyncio.DatagramProtocol):
    def __init__(
        self, front: Front, choose: Choose, is_simulated: Callable[[Endpoint], bool], world: World
    ) -> None:
        self.front = front
        self._choose = choose
        self._is_simulated = is_simulated
        self._world = world
        self._transport: asyncio.DatagramTransport | None = None
        self._clients: dict[Address, _Client] = {}

    async def start(self) -> None:
        """OSError when the address cannot be listened on."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self.front.address, self.front.port)
        )

    async def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()
        clients = list(self._clients.values())
        await asyncio.gather(*(client.close() for client in clients))

    # -- asyncio.DatagramProtocol -----------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: Address) -> None:
        client = self._clients.get(addr)
        if client is None:
            endpoint = self._choose(addr[0])
            if endpoint is None or self._is_simulated(endpoint) or len(self._clients) >= CLIENTS_MAX:
                return
            client = self._clients[addr] = _Client(self, addr, endpoint)
        client.send(data)

    def error_received(self, exc: Exception) -> None:
        """An answer did not reach its client: that is the client's to notice."""
        log.debug("%s: UDP port %d: %s", self.front.service, self.front.port, exc)

    def answer(self, data: bytes, addr: Address) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, addr)

    def forget(self, addr: Address) -> None:
        self._clients.pop(addr, None)

    async def quiet(self, heard_s: Callable[[], float]) -> None:
        """Until nothing was heard for IDLE_S."""
        clock = self._world.clock
        while (left_s := heard_s() + IDLE_S - clock.monotonic()) > 0:
            await clock.sleep(left_s)

    def now_s(self) -> float:
        return self._world.clock.monotonic()


class _Client(asyncio.DatagramProtocol):
    """One client's way to its endpoint."""

    def __init__(self, forwarder: UdpForwarder, client: Address, endpoint: Endpoint) -> None:
        self._forwarder = forwarder
        self._client = client
        self._endpoint = endpoint
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: list[bytes] = []
        self._heard_s = forwarder.now_s()
        self._task = asyncio.get_running_loop().create_task(self._live())

    def send(self, data: bytes) -> None:
        self._heard_s = self._forwarder.now_s()
        if self._transport is not None:
            self._transport.sendto(data)
        elif len(self._waiting) < _WAITING_MAX:
            self._waiting.append(data)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._heard_s = self._forwarder.now_s()
        self._forwarder.answer(data, self._client)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there: the next datagram chooses anew."""
        self._task.cancel()

    async def _live(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            remote = (self._endpoint.address, self._endpoint.port)
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=remote)
            for data in self._waiting:
                self._transport.sendto(data)
            self._waiting.clear()
            await self._forwarder.quiet(lambda: self._heard_s)
        except OSError as error:
            log.info("%s: UDP to %s: %s", self._forwarder.front.service, self._endpoint.address, error)
        finally:
            self._forwarder.forget(self._client)
            if self._transport is not None:
                self._transport.close()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
