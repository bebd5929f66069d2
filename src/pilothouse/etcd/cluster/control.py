"""How a command reaches the process that runs a managed cluster: a socket in the cluster's directory.

DATA_DIR/etcd/control.sock (0600): one request per connection, JSON, a line each

▶ {"do": "add", "name": "m4"}
◀ {"say": "m4 is a learner"}           any number
◀ {"done": {"name": "m4", "id": 7}}    or {"error": "why not"}
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pilothouse.etcd.contract import StoreError, StoreUnavailable

log = logging.getLogger(__name__)

Say = Callable[[str], None]
Handler = Callable[[Mapping[str, Any], Say], Awaitable[dict[str, Any]]]

SOCKET_FILE = "control.sock"


class ControlServer:
    """`handlers` by what is to be done. A change goes on when its asker goes away."""

    def __init__(self, directory: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = directory / SOCKET_FILE
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._changes: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        with _short(self._path) as path:
            listener.bind(path)
        self._path.chmod(0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._answer(reader, writer))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(message: dict[str, Any]) -> None:
            if not writer.is_closing():
                writer.write(json.dumps(message).encode() + b"\n")

        try:
            line = await reader.readline()
            send(await self._do(line, lambda text: send({"say": text})))
            await writer.drain()
        except ConnectionError as error:
            log.debug("who asked has gone: %s", error)
        finally:
            writer.close()

    async def _do(self, line: bytes, say: Say) -> dict[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers[request["do"]]
        except (ValueError, KeyError, TypeError):
            return {"error": f"this is no request that this version knows: {line[:100]!r}"}
        try:
            return {"done": await handler(request, say)}
        except (StoreError, OSError) as error:
            return {"error": str(error)}

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._changes):
            task.cancel()
        await asyncio.gather(*self._changes, return_exceptions=True)
        self._path.unlink(missing_ok=True)


def ask(directory: Path, request: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """What the running process answers. StoreUnavailable when there is none, StoreError with its reason."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with _short(directory / SOCKET_FILE) as path:
                connection.connect(path)
        except OSError as error:
            raise StoreUnavailable(
                f"nobody answers on {directory / SOCKET_FILE} ({error.strerror}): start the cluster with "
                f"pilothouse up --data-dir {directory.parent}"
            ) from error
        with connection.makefile("rwb") as stream:
            stream.write(json.dumps(dict(request)).encode() + b"\n")
            stream.flush()
            return _conversation(stream, say)


def _conversation(lines: Any, say: Say) -> dict[str, Any]:
    for line in lines:
        message = json.loads(line)
        if "error" in message:
            raise StoreError(message["error"])
        if "done" in message:
            done: dict[str, Any] = message["done"]
            return done
        say(message["say"])
    raise StoreUnavailable("the process that runs the cluster ended before it had answered: see its log")


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A path that the kernel takes for a socket: no more than 107 bytes, whatever the directory is called."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").exists():
        yield str(path)
        return
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)
