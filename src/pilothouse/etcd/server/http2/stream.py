"""One call: messages in, messages out, a status at the end.

    headers ──▶ handler runs ──▶ headers, messages ──▶ trailers (status)      both sides have ended: forgotten
                     └── the client resets, goes away, or its deadline passes: the handler is cancelled

Messages are framed by a byte (compressed?) and a length (gRPC's PROTOCOL-HTTP2.md). A streaming client may be as
far ahead of its handler as its window allows; a handler waits in `send` while the client does not read.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message

from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.server.http2 import headers
from pilothouse.etcd.server.http2.call import Served, timeout_s
from pilothouse.etcd.wire.errors import Code, code_of

if TYPE_CHECKING:
    from pilothouse.etcd.server.http2.connection import Connection

log = logging.getLogger(__name__)

WINDOW = 4 * 1024 * 1024
"""Bytes that a client may send ahead on one stream."""
_PENDING_HIGH = 256 * 1024
"""A streaming handler waits when so many bytes of its stream are not on their way."""
_PREFIX_SIZE = 5


class CallFailed(Exception):
    """Ends a call with a status."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Stream:
    """See `call.Call` for what a handler sees of it."""

    __slots__ = (
        "_begun",
        "_buffer",
        "_connection",
        "_deadline",
        "_drained",
        "_failure",
        "_head_sent",
        "_message_waiter",
        "_messages",
        "_over",
        "_served",
        "_task",
        "_wanted",
        "freed",
        "held",
        "metadata",
        "number",
        "pending",
        "pending_bytes",
        "remote_ended",
        "running",
        "size",
        "trailers",
        "unacknowledged",
        "window",
    )

    def __init__(
        self, connection: Connection, number: int, served: Served, fields: headers.Fields, window: int
    ) -> None:
        self.number = number
        self.metadata: Mapping[str, str] = fields
        self.window = window
        self.pending: deque[memoryview] = deque()
        """Bytes that wait for a window to open, `pending_bytes` of them."""
        self.pending_bytes = 0
        self.trailers = b""
        self.remote_ended = False
        self.size = 0
        self.unacknowledged = 0
        """Bytes received that are held here; `freed` are those whose room the client was not told of."""
        self.freed = 0
        self.held = 0
        """Bytes received that count for the connection's limit, `running` of them a request that is complete."""
        self.running = 0
        self._connection = connection
        self._served = served
        self._buffer = bytearray()
        self._wanted = _PREFIX_SIZE
        """Bytes in the buffer that are worth a look."""
        self._messages: deque[bytes] = deque()
        self._message_waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._head_sent = False
        self._failure: CallFailed | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self._over = False
        """It has its status, or nobody waits for one."""
        self._deadline = self._start_clock(fields.get("grpc-timeout", ""))
        connection.observer.started(served.method)
        if served.method.request_streams:
            self._task = connection.loop.create_task(self._run(None))

    def _start_clock(self, header: str) -> asyncio.TimerHandle | None:
        limit_s = timeout_s(header) if header else None
        return None if limit_s is None else self._connection.loop.call_later(limit_s, self._expire)

    def _expire(self) -> None:
        self._stop(CallFailed(Code.DEADLINE_EXCEEDED, "context deadline exceeded"))

    def _stop(self, failure: CallFailed) -> None:
        """End the call by a failure of its own; the handler is cancelled."""
        if self._failure is not None:
            return
        self._failure = failure
        if self._task is not None:
            self._task.cancel()
        if not self._begun:  # a task that is cancelled before its first turn says nothing
            self._finish(failure.code, str(failure))

    # -- in -----------------------------------------------------------------------------------------------

    def received(self, data: bytes, ended: bool) -> None:
        """A piece of the request."""
        if data and self._failure is None:
            self.held += len(data)
            self._connection.held_bytes += len(data)
            try:
                self._split(data)
            except CallFailed as failure:
                self.remote_ended = ended
                self._stop(failure)
                return
        if ended:
            self.remote_ended = True
            if self._task is None and not self._over:
                self._finish(Code.INTERNAL, "the request ended without a message")
            self._wake()

    def _split(self, data: bytes) -> None:
        """Take whole messages; what is left waits in the buffer for the rest of its own."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        at = 0
        self._wanted = _PREFIX_SIZE
        while len(data) - at >= _PREFIX_SIZE:
            size = int.from_bytes(data[at + 1 : at + 5], "big")
            if data[at]:
                raise CallFailed(Code.UNIMPLEMENTED, "compressed messages are not supported: send identity")
            limit = self._size_max
            if size > limit:
                text = f"grpc: received message larger than max ({size} vs. {limit})"
                raise CallFailed(Code.RESOURCE_EXHAUSTED, text)
            end = at + _PREFIX_SIZE + size
            if end > len(data):
                self._wanted = end - at
                break
            self._message(data[at + _PREFIX_SIZE : end])
            at = end
        if at < len(data):
            self._buffer += data[at:] if at else data

    @property
    def _size_max(self) -> int:
        """A message of a stream must fit into the window that its handler opens by taking it."""
        limit = self._connection.limits.message_bytes_max
        return min(limit, WINDOW - _PREFIX_SIZE) if self.takes_ahead else limit

    def _message(self, raw: bytes) -> None:
        if self._served.method.request_streams:
            self._messages.append(raw)
            self._wake()
        elif self._task is None:
            self.size = len(raw)
            self.running = self.held
            self._connection.running_bytes += self.running
            self._task = self._connection.loop.create_task(self._run(raw))

    def _wake(self) -> None:
        if self._message_waiter is not None and not self._message_waiter.done():
            self._message_waiter.set_result(None)

    def _parse(self, raw: bytes) -> Message:
        try:
            return self._served.method.request.FromString(raw)
        except DecodeError as error:
            raise CallFailed(Code.INTERNAL, f"grpc: error unmarshalling request: {error}") from error

    async def requests(self) -> AsyncIterator[Any]:
        while True:
            while self._messages:
                raw = self._messages.popleft()
                self._connection.consumed(self, len(raw) + _PREFIX_SIZE)
                if not self._over:
                    self._connection.release(self, len(raw) + _PREFIX_SIZE)
                yield self._parse(raw)
            if self.remote_ended:
                return
            self._message_waiter = self._connection.loop.create_future()
            await self._message_waiter

    @property
    def takes_ahead(self) -> bool:
        """Whether the window is given back only for what the handler has taken."""
        return self._served.method.request_streams

    # -- running ------------------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        return self._served.method.path

    @property
    def common_name(self) -> str:
        return self._connection.common_name

    async def _run(self, raw: bytes | None) -> None:
        self._begun = True
        code, message = Code.OK, ""
        try:
            await self._answer(raw)
        except asyncio.CancelledError:
            if self._failure is None:
                raise
            code, message = self._failure.code, str(self._failure)
        except CallFailed as failure:
            code, message = failure.code, str(failure)
        except StoreError as error:
            code, message = code_of(error), str(error)
        except Exception:
            log.exception("%s failed", self._served.method.path)
            code, message = Code.INTERNAL, "internal error; see the server's log"
        self._finish(code, message)

    async def _answer(self, raw: bytes | None) -> None:
        handler: Any = self._served.handler
        method = self._served.method
        if raw is None:
            await handler(self.requests(), self.send, self)
        elif method.response_streams:
            await handler(self._parse(raw), self.send, self)
        else:
            if self._connection.clogged:
                await self._connection.room()
            self._write(await handler(self._parse(raw), self))

    # -- out ----------------------------------------------------------------------------------------------

    def _write(self, message: Message | bytes) -> None:
        if self._over:
            return
        payload = message if isinstance(message, bytes) else message.SerializeToString()
        if not self._head_sent:
            self._head_sent = True
            self._connection.send_headers(self, headers.RESPONSE, ended=False)
        self._connection.send_data(self, b"\0" + len(payload).to_bytes(4, "big") + payload)

    async def send(self, message: Message | bytes) -> None:
        self._write(message)
        if self.pending_bytes > _PENDING_HIGH:
            self._drained = self._connection.loop.create_future()
            await self._drained
        if self._connection.clogged:
            await self._connection.room()

    def drained(self) -> None:
        """All that was pending is on its way."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _finish(self, code: Code, message: str) -> None:
        if self._over:
            return
        self._over = True
        if self._deadline is not None:
            self._deadline.cancel()
        if self._head_sent:
            trailers = headers.trailers(code, message)
        else:
            trailers = headers.RESPONSE + headers.trailers(code, message)
        self._connection.finish(self, trailers)
        self._connection.observer.done(self._served.method, code)

    def abandon(self) -> None:
        """The client is gone: nobody waits for an answer."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._over:
            return
        self._over = True
        if self._task is not None:
            self._task.cancel()
        self._connection.observer.done(self._served.method, Code.CANCELLED)
