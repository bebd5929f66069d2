"""kill -9 at any moment: nothing acknowledged is lost, nothing is done twice, and it starts again by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.conftest import TOKENS
from tests.scenarios.crash import Books, Client, Counters, Gone, Services, Watcher, Writer

WRITERS = 4


class Server:
    """A command that serves, on one port and one data directory for ever."""

    def __init__(self, command: str, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (directory / "tokens.csv").write_text(TOKENS)
        self._log = directory / "log"
        self._process: asyncio.subprocess.Process | None = None
        self._arguments = [
            command, f"--data-dir={directory / 'data'}", f"--secure-port={port}", "--bind-address=127.0.0.1",
            f"--token-auth-file={directory / 'tokens.csv'}",
        ]  # fmt: skip
        self.url = f"https://127.0.0.1:{port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Killed at the end."""
        with self._log.open("a") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "pilothouse",
                *self._arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self._process = process
        assert process.stdout is not None
        try:
            line = await process.stdout.readline()
            assert line.startswith(b"Ready in "), line.decode() + self._log.read_text()
            yield
        finally:
            await self.kill()

    async def kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    def check_log(self) -> None:
        assert "Traceback" not in self._log.read_text()


async def _tolerant(work: Coroutine[Any, Any, None]) -> None:
    """That the server went away is no failure."""
    with contextlib.suppress(Gone):
        await work


async def _kill_again_and_again(server: Server, kills: int, seed: int) -> int:
    """How many writes were acknowledged."""
    random = Random(seed)
    client, books = Client(server.url), Books()
    counters, services = Counters(client), Services(client)
    writers = [Writer(number, client, books, Random(seed + number)) for number in range(WRITERS)]
    watcher = Watcher(client, books, 1)
    try:
        for kill in range(kills + 1):
            async with server.running(), asyncio.TaskGroup() as group:
                group.create_task(_tolerant(watcher.run()))
                if not kill:
                    await counters.make()
                for one in (*writers, counters, services):
                    await one.check()
                await watcher.caught_up(thing for writer in writers for thing in writer.things)
                if kill < kills:
                    for work in (*(w.run() for w in writers), counters.run(), counters.run(), services.run()):
                        group.create_task(_tolerant(work))
                    await asyncio.sleep(random.uniform(0.1, 1.2))
                await server.kill()
        server.check_log()
        return sum(writer.acknowledged for writer in writers)
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("command", "kills"),
    [
        ("kube-apiserver", 3),
        ("up", 3),
        pytest.param("kube-apiserver", 60, marks=pytest.mark.long),
        pytest.param("up", 40, marks=pytest.mark.long),
    ],
)
async def test_a_killed_server_has_lost_nothing(command: str, kills: int, tmp_path: Path) -> None:
    acknowledged = await _kill_again_and_again(Server(command, tmp_path), kills, seed=7)
    assert acknowledged > 20 * kills
