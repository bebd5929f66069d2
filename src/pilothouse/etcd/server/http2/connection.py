"""One client's connection: frames in and out, windows, limits (RFC 9113).

What a hostile client could make grow is bounded: the bytes of a header block, of a message, of all messages that are
not complete or not taken, of answers that wait for him to read, the streams at once, the frames that only ask for work
(pings, settings, resets) between two answers, and the time for his first bytes and for our last. A client that does not
read is not read from either.

    received ──▶ incomplete, or not taken: too much of it is refused ──▶ with a handler: too much closes the window
    answers  ──▶ wait for a window: too much of it, and no further call is begun
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple, cast

from pilothouse.etcd.server.http2 import frames, headers
from pilothouse.etcd.server.http2.call import Observer, Routes
from pilothouse.etcd.server.http2.frames import ConnectionFault, ErrorCode, Kind, Setting
from pilothouse.etcd.server.http2.stream import WINDOW, Stream
from pilothouse.etcd.wire.errors import Code

log = logging.getLogger(__name__)

_CONNECTION_WINDOW = 16 * 1024 * 1024
_IDLE_WORK_MAX = 10_000
"""Pings, settings, resets and the like without an answer between them, in"""
_IDLE_PERIOD_S = 60.0
_PREFACE_S = 10.0
_CLOSING_S = 5.0
"""How long a client may take to read what is said last."""

_JOINED_MAX = 1024 * 1024
"""Bytes of one turn that are cheaper to copy together than to write piece by piece."""


class Limits(NamedTuple):
    message_bytes_max: int = 2 * 1024 * 1024
    streams_max: int = 4096
    held_bytes_max: int = 64 * 1024 * 1024
    """Of a connection: of requests that are not complete, and of all requests before its window closes."""
    unsent_bytes_max: int = 256 * 1024 * 1024
    """Of a connection: answers that wait, before it begins no further call."""


Gone = Callable[["Connection"], None]


class Connection(asyncio.Protocol):
    """`common_name` is the one in the client's certificate; `gone` is told when the connection has ended."""

    def __init__(
        self, routes: Routes, limits: Limits, observer: Observer, common_name: str, gone: Gone
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.observer = observer
        self.common_name = common_name
        self.paused = False
        self.held_bytes = 0
        """Of requests whose handlers have not done with them, `running_bytes` of them complete."""
        self.running_bytes = 0
        self._unsent = 0
        """Bytes that wait for windows; `_out_bytes` go out with the next turn of the loop."""
        self._out_bytes = 0
        self._room: list[asyncio.Future[None]] = []
        """Calls that wait until less is unsent."""
        self._timer: asyncio.TimerHandle | None = None
        """For the preface; then for the end."""
        self._ended = False
        self._gone = gone
        self._routes = routes
        self._reader = headers.HeaderReader()
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._blocked: dict[int, Stream] = {}
        """Streams with bytes that wait for a window."""
        self._rest = frames.PREFACE
        self._preface_seen = False
        self._last_stream = 0
        self._block: tuple[int, int, bytes] | None = None
        """Stream, flags and bytes so far of headers that go on in the next frame."""
        self._send_window = frames.WINDOW_DEFAULT
        self._stream_window = frames.WINDOW_DEFAULT
        self._unacknowledged = 0
        self._out: list[bytes] = []
        self._idle_work = 0
        self._idle_since_s = self.loop.time()
        self._going = False

    # -- the transport ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._rest = b""
        self._timer = self.loop.call_later(_PREFACE_S, self._cut_off)
        mine = {
            Setting.MAX_CONCURRENT_STREAMS: self.limits.streams_max,
            Setting.INITIAL_WINDOW_SIZE: WINDOW,
            Setting.MAX_HEADER_LIST_SIZE: headers.BLOCK_MAX,
        }
        self._write(frames.settings(mine))
        self._write(frames.window_update(0, _CONNECTION_WINDOW - frames.WINDOW_DEFAULT))

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            self._read(self._rest + data if self._rest else data)
        except ConnectionFault as fault:
            log.debug("a connection is ended: %s", fault)
            self._fail(fault)
        except Exception:
            log.exception("a connection is ended by a fault of this server")
            self._fail(ConnectionFault(ErrorCode.INTERNAL_ERROR, "internal error; see the server's log"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ended = True
        self._stop_timer()
        for stream in list(self._streams.values()):
            self._forget(stream)
            stream.abandon()
        self._gone(self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut_off(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self.paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self.paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._relieve()

    @property
    def clogged(self) -> bool:
        """Whether the client must read before more is made for it."""
        return self.paused or self._unsent + self._out_bytes > self.limits.unsent_bytes_max

    async def room(self) -> None:
        while self.clogged:
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._room.append(waiter)
            await waiter

    def _relieve(self) -> None:
        if self._room and not self.clogged:
            waiters, self._room = self._room, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _write(self, data: bytes) -> None:
        """Goes out with all else that this turn of the loop writes."""
        if not self._out:
            self.loop.call_soon(self._flush)
        self._out.append(data)
        self._out_bytes += len(data)

    def _flush(self) -> None:
        out, size = self._out, self._out_bytes
        self._out, self._out_bytes = [], 0
        if out and self._transport is not None:
            if size > _JOINED_MAX:
                self._transport.writelines(out)  # joined it would be in memory twice
            else:
                self._transport.write(b"".join(out))
        self._relieve()

    def _fail(self, fault: ConnectionFault) -> None:
        self._write(frames.go_away(self._last_stream, fault.code, str(fault)))
        self.close()

    def close(self) -> None:
        """What was written goes out, if the client takes it soon; calls that run are cancelled."""
        self._flush()
        if self._transport is not None and not self._ended:
            self._ended = True
            self._stop_timer()
            self._timer = self.loop.call_later(_CLOSING_S, self._cut_off)
            self._transport.close()

    def shut_down(self) -> None:
        """Take no new calls; close when the last one has ended."""
        if not self._going:
            self._going = True
            self._write(frames.go_away(self._last_stream, ErrorCode.NO_ERROR))
            self._close_when_done()

    def _close_when_done(self) -> None:
        if self._going and not self._streams:
            self.close()

    # -- frames in ----------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        at, end = 0, len(data)
        if not self._preface_seen:
            if not data.startswith(frames.PREFACE[:end]):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not HTTP/2")
            if end < len(frames.PREFACE):
                self._rest = data
                return
            self._preface_seen = True
            self._stop_timer()
            at = len(frames.PREFACE)
        unpack = frames.HEAD.unpack_from
        while end - at >= frames.HEAD_SIZE:
            head, flags, stream = unpack(data, at)
            size = head >> 8
            if size > frames.PAYLOAD_MAX:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            stop = at + frames.HEAD_SIZE + size
            if stop > end:
                break
            self._frame(head & 0xFF, flags, stream & 0x7FFFFFFF, data[at + frames.HEAD_SIZE : stop])
            at = stop
        self._rest = data[at:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != Kind.CONTINUATION:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block was not ended")
        if kind == Kind.DATA:
            self._data(flags, stream, payload)
        elif kind == Kind.HEADERS:
            self._headers(flags, stream, payload)
        else:
            handler = _OTHERS.get(kind)
            if handler is not None:
                _check_shape(kind, stream, payload)
                handler(self, flags, stream, payload)

    def _count_idle_work(self) -> None:
        self._idle_work += 1
        if self._idle_work > _IDLE_WORK_MAX:
            now_s = self.loop.time()
            if now_s - self._idle_since_s < _IDLE_PERIOD_S:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
            self._idle_work, self._idle_since_s = 0, now_s

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        self._unacknowledged += len(payload)
        if self._unacknowledged > _CONNECTION_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more bytes than the connection's window")
        self._open_window()
        stream = self._streams.get(number)
        if stream is None or stream.remote_ended:
            if not 0 < number <= self._last_stream:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "data for a stream that was not opened")
            self._count_idle_work()
            return
        if not payload and not flags & frames.END_STREAM:
            self._count_idle_work()
        stream.unacknowledged += len(payload)
        if stream.unacknowledged + stream.freed > WINDOW:
            self.reset(stream, ErrorCode.FLOW_CONTROL_ERROR)
            return
        if self.held_bytes - self.running_bytes + len(payload) > self.limits.held_bytes_max:
            self.reset(stream, ErrorCode.ENHANCE_YOUR_CALM)
            return
        data = frames.unpadded(flags, payload)
        if not stream.takes_ahead:
            self.consumed(stream, len(payload))
        elif len(data) < len(payload):
            self.consumed(stream, len(payload) - len(data))
        stream.received(data, bool(flags & frames.END_STREAM))

    def _open_window(self) -> None:
        """Once half of it is used, and if the requests in work are not too many already."""
        if (
            self._unacknowledged > _CONNECTION_WINDOW // 2
            and self.held_bytes <= self.limits.held_bytes_max
            and not self._ended
        ):
            self._write(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0

    def release(self, stream: Stream, size: int) -> None:
        """So many bytes of its requests are done with."""
        stream.held -= size
        self.held_bytes -= size
        self._open_window()

    def _release_all(self, stream: Stream) -> None:
        self.running_bytes -= stream.running
        stream.running = 0
        self.release(stream, stream.held)

    def consumed(self, stream: Stream, size: int) -> None:
        """Bytes of a stream that are held no more; its window is opened again by the half."""
        stream.unacknowledged -= size
        freed = stream.freed = stream.freed + size
        if freed > WINDOW // 2 and not stream.remote_ended:
            stream.freed = 0
            self._write(frames.window_update(stream.number, freed))

    def _headers(self, flags: int, number: int, payload: bytes) -> None:
        payload = frames.unpadded(flags, payload)
        if flags & frames.PRIORITY_FLAG:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS of a broken length")
            payload = payload[5:]
        self._block_part(number, flags, payload, flags)

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a header block goes on that was not begun")
        _, first_flags, so_far = self._block
        self._count_idle_work()
        self._block_part(number, first_flags, so_far + payload, flags)

    def _block_part(self, number: int, first_flags: int, block: bytes, flags: int) -> None:
        if len(block) > headers.BLOCK_MAX:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many bytes of headers")
        if not flags & frames.END_HEADERS:
            self._block = (number, first_flags, block)
            return
        self._block = None
        self._request(number, self._reader.read(block), bool(first_flags & frames.END_STREAM))

    def _request(self, number: int, fields: headers.Fields, ended: bool) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            if ended and not stream.remote_ended:
                stream.received(b"", True)
            return
        if not number % 2 or number <= self._last_stream:
            if number and number % 2:
                return  # trailers of a call that was answered already
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream number that a client may not use")
        self._last_stream = number
        if self._going:
            self._write(frames.reset(number, ErrorCode.REFUSED_STREAM))
        elif len(self._streams) >= self.limits.streams_max:
            self._count_idle_work()
            self._write(frames.reset(number, ErrorCode.REFUSED_STREAM))
        else:
            self._open(number, fields, ended)

    def _open(self, number: int, fields: headers.Fields, ended: bool) -> None:
        if not fields.get("content-type", "").startswith("application/grpc"):
            self._turn_away(number, headers.plain(415, "this port speaks gRPC over HTTP/2"), ended)
            return
        path = fields.get(":path", "")
        served = self._routes.get(path)
        if served is None:
            service, _, name = path.strip("/").rpartition("/")
            known = any(route.startswith(f"/{service}/") for route in self._routes)
            text = f"unknown method {name} for service {service}" if known else f"unknown service {service}"
            trailers = headers.RESPONSE + headers.trailers(Code.UNIMPLEMENTED, text)
            self._turn_away(number, trailers, ended)
            return
        stream = self._streams[number] = Stream(self, number, served, fields, self._stream_window)
        if ended:
            stream.received(b"", True)

    def _turn_away(self, number: int, block: bytes, ended: bool) -> None:
        self._count_idle_work()
        self._write(frames.frame(Kind.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, block))
        if not ended:
            self._write(frames.reset(number, ErrorCode.NO_ERROR))

    def _reset_by_peer(self, flags: int, number: int, payload: bytes) -> None:
        self._count_idle_work()
        if number > self._last_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a reset of a stream that was not opened")
        stream = self._streams.get(number)
        if stream is not None:
            self._forget(stream)
            stream.abandon()
            self._close_when_done()

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.number]
        self._blocked.pop(stream.number, None)
        self._unsent -= stream.pending_bytes
        stream.pending.clear()
        stream.pending_bytes = 0
        self._release_all(stream)
        self._relieve()

    def _settings(self, flags: int, number: int, payload: bytes) -> None:
        if flags & frames.ACK:
            return
        self._count_idle_work()
        for setting, value in frames.read_settings(payload):
            if setting == Setting.INITIAL_WINDOW_SIZE:
                self._move_windows(value)
        # Before the bytes that wider windows let out: until the client has read this, the old ones hold for it.
        self._write(frames.frame(Kind.SETTINGS, frames.ACK, 0))
        for stream in list(self._streams.values()):
            self._send_pending(stream)

    def _move_windows(self, initial: int) -> None:
        if initial > frames.WINDOW_MAX:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31-1")
        change, self._stream_window = initial - self._stream_window, initial
        for stream in list(self._streams.values()):
            stream.window += change

    def _ping(self, flags: int, number: int, payload: bytes) -> None:
        if not flags & frames.ACK:
            self._count_idle_work()
            self._write(frames.frame(Kind.PING, frames.ACK, 0, payload))

    def _push(self, flags: int, number: int, payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client may not push")

    def _window_update(self, flags: int, number: int, payload: bytes) -> None:
        increment = int.from_bytes(payload, "big") & 0x7FFFFFFF
        if not increment:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window opened by nothing")
        if number:
            stream = self._streams.get(number)
            if stream is not None:
                stream.window += increment
                if stream.window > frames.WINDOW_MAX:
                    self.reset(stream, ErrorCode.FLOW_CONTROL_ERROR)
                else:
                    self._send_pending(stream)
            return
        self._send_window += increment
        if self._send_window > frames.WINDOW_MAX:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31-1")
        for stream in list(self._blocked.values()):
            self._send_pending(stream)

    def _idle(self, flags: int, number: int, payload: bytes) -> None:
        self._count_idle_work()

    # -- frames out ---------------------------------------------------------------------------------------

    def send_headers(self, stream: Stream, block: bytes, *, ended: bool) -> None:
        flags = frames.END_HEADERS | (frames.END_STREAM if ended else 0)
        self._write(frames.frame(Kind.HEADERS, flags, stream.number, block))

    def send_data(self, stream: Stream, data: bytes) -> None:
        """As far as the windows are open; the rest waits in the stream."""
        self._idle_work = 0
        size = len(data)
        if (
            not stream.pending
            and size <= stream.window
            and size <= self._send_window
            and size <= frames.PAYLOAD_MAX
        ):
            stream.window -= size
            self._send_window -= size
            self._write(frames.frame(Kind.DATA, 0, stream.number, data))
            return
        stream.pending.append(memoryview(data))
        stream.pending_bytes += size
        self._unsent += size
        self._send_pending(stream)

    def _send_pending(self, stream: Stream) -> None:
        pending = stream.pending
        while pending:
            room = min(stream.window, self._send_window, frames.PAYLOAD_MAX)
            if room <= 0:
                self._blocked[stream.number] = stream
                return
            piece = pending[0][:room]
            if len(piece) == len(pending[0]):
                pending.popleft()
            else:
                pending[0] = pending[0][room:]
            stream.window -= len(piece)
            self._send_window -= len(piece)
            stream.pending_bytes -= len(piece)
            self._unsent -= len(piece)
            self._write(frames.frame(Kind.DATA, 0, stream.number, piece))
        self._blocked.pop(stream.number, None)
        stream.drained()
        if stream.trailers:
            self._end(stream)

    def finish(self, stream: Stream, trailers: bytes) -> None:
        """The trailers follow what is still pending."""
        self._idle_work = 0
        self._release_all(stream)
        stream.trailers = trailers
        if not stream.pending:
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        if stream.number not in self._streams:
            return
        self._forget(stream)
        self.send_headers(stream, stream.trailers, ended=True)
        if not stream.remote_ended:
            self._write(frames.reset(stream.number, ErrorCode.NO_ERROR))
        self._close_when_done()

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        if stream.number in self._streams:
            self._forget(stream)
            self._write(frames.reset(stream.number, code))
            stream.abandon()
            self._close_when_done()


_OTHERS: dict[int, Callable[[Connection, int, int, bytes], None]] = {
    Kind.PRIORITY: Connection._idle,
    Kind.RST_STREAM: Connection._reset_by_peer,
    Kind.SETTINGS: Connection._settings,
    Kind.PUSH_PROMISE: Connection._push,
    Kind.PING: Connection._ping,
    Kind.WINDOW_UPDATE: Connection._window_update,
    Kind.CONTINUATION: Connection._continuation,
}

_SIZES: dict[int, int] = {Kind.PRIORITY: 5, Kind.RST_STREAM: 4, Kind.PING: 8, Kind.WINDOW_UPDATE: 4}
_OF_CONNECTIONS = (Kind.SETTINGS, Kind.PING)
_OF_STREAMS = (Kind.PRIORITY, Kind.RST_STREAM)


def _check_shape(kind: int, stream: int, payload: bytes) -> None:
    """Frames of a fixed size have it, and belong to a stream or to none (RFC 9113, section 6)."""
    if len(payload) != _SIZES.get(kind, len(payload)):
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{Kind(kind).name} of a broken length")
    if (stream and kind in _OF_CONNECTIONS) or (not stream and kind in _OF_STREAMS):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{Kind(kind).name} on stream {stream}")
