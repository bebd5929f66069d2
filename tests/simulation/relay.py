"""TCP relays between the members of an etcd cluster, so that any two of them can be cut off from each other.

Each member is known to the others by its relay's port. Who calls is found by the socket that the kernel shows in
/proc: all relays of a process see the same loopback address. A cut link loses nothing and delivers nothing, as a
network that is gone and comes back: connections stand still, new ones too.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from pilothouse.etcd.cluster.layout import Member

Pids = Callable[[], Mapping[str, int]]


class Relays:
    """`pids` gives the members' processes by name."""

    def __init__(self, pids: Pids) -> None:
        self._pids = pids
        self._ports: dict[int, int] = {}
        self._gates: dict[frozenset[str], asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    def url(self, member: Member) -> str:
        """What the others call a member by; its relay is opened with the first question."""
        port = self._ports.get(member.peer_port)
        if port is None:
            port = self._ports[member.peer_port] = self._open(member)
        return f"https://127.0.0.1:{port}"

    def _open(self, member: Member) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._listen(listener, member))
        port: int = listener.getsockname()[1]
        return port

    async def _listen(self, listener: socket.socket, member: Member) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._start(self._relay(reader, writer, member))

        self._servers.append(await asyncio.start_server(accept, sock=listener))

    def _start(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, member: Member
    ) -> None:
        port = writer.get_extra_info("peername")[1]
        caller = await asyncio.to_thread(owner_of, port, dict(self._pids()))
        gate = self._gate(caller, member.name)
        try:
            await gate.wait()
            to_member = await asyncio.open_connection("127.0.0.1", member.peer_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._pump(reader, to_member[1], gate),
            self._pump(to_member[0], writer, gate),
            return_exceptions=True,
        )
        writer.close()
        to_member[1].close()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        try:
            while data := await reader.read(1 << 16):
                await gate.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def _gate(self, one: str, other: str) -> asyncio.Event:
        pair = frozenset((one, other))
        if pair not in self._gates:
            self._gates[pair] = asyncio.Event()
            self._gates[pair].set()
        return self._gates[pair]

    def cut(self, one: str, other: str) -> None:
        self._gate(one, other).clear()

    def heal(self) -> None:
        for gate in self._gates.values():
            gate.set()

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def owner_of(port: int, pids: Mapping[str, int]) -> str:
    """Whose process has the connection that comes from a local port; "" when it has gone already."""
    inode = _inode(port)
    for name, pid in pids.items():
        if inode and inode in _sockets(pid):
            return name
    return ""


def _inode(port: int) -> str:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == f"0100007F:{port:04X}":
            return fields[9]
    return ""


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            target = os.readlink(entry.path)
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:
        return found  # the process, or a file of it, ended while we looked
    return found
