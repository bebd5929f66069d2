"""What a connection does with bytes that no good client sends (RFC 9113), and what it keeps of them."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import Any

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.etcd.server.http2 import frames, headers
from pilothouse.etcd.server.http2.call import Call, Requests, Send, Served, timeout_s
from pilothouse.etcd.server.http2.connection import Connection, Limits
from pilothouse.etcd.server.http2.frames import ErrorCode, Kind
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Code
from pilothouse.etcd.wire.methods import KV, WATCH, Method

REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/etcdserverpb.KV/Put"),
    (":authority", "store"),
    ("content-type", "application/grpc"),
]
EMPTY_MESSAGE = b"\0\0\0\0\0"


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.aborted = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, data: list[bytes]) -> None:
        self.written += b"".join(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Peer:
    """The client's side of a connection, byte by byte."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.handled = 0
        self.answer_bytes = 0
        self.transport = Transport()
        self.hold: asyncio.Future[None] | None = None
        self.gone = False
        table = {KV["Put"]: self._put, WATCH["Watch"]: self._watch}
        routes = {method.path: Served(method, handler) for method, handler in table.items()}
        self.codes: list[Code] = []
        self.connection = Connection(routes, limits or Limits(), self, "", self._gone)
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        self.send(frames.PREFACE + frames.settings({}))

    def started(self, method: Method) -> None:
        """Of interest is how calls end."""

    def done(self, method: Method, code: Code) -> None:
        self.codes.append(code)

    def _gone(self, connection: Connection) -> None:
        self.gone = True

    async def _put(self, request: Any, call: Call) -> pb.PutResponse:
        self.handled += 1
        if self.hold is not None:
            await self.hold
        if not self.answer_bytes:
            return pb.PutResponse()
        return pb.PutResponse(prev_kv=pb.KeyValue(value=bytes(self.answer_bytes)))

    async def _watch(self, requests: Requests, send: Send, call: Call) -> None:
        async for _ in requests:
            self.handled += 1
            await send(pb.WatchResponse())

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    def open(self, number: int, fields: list[tuple[str, str]] | None = None) -> None:
        block = hpack.Encoder().encode(fields or REQUEST)
        self.send(frames.frame(Kind.HEADERS, frames.END_HEADERS, number, block))

    async def answers(self) -> list[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, payload) of what came since the last look."""
        for _ in range(5):
            await asyncio.sleep(0)
        found, data, self.transport.written = [], self.transport.written, b""
        while data:
            head, flags, stream = frames.HEAD.unpack_from(data)
            size = head >> 8
            found.append((head & 0xFF, flags, stream, data[9 : 9 + size]))
            data = data[9 + size :]
        return found

    async def fault(self) -> ErrorCode:
        """Of the GOAWAY that ended the connection."""
        away = [payload for kind, _, _, payload in await self.answers() if kind == Kind.GOAWAY]
        assert away, "the connection goes on"
        assert self.transport.closed
        return ErrorCode(struct.unpack_from(">II", away[-1])[1])


WATCH_REQUEST = [*REQUEST[:2], (":path", "/etcdserverpb.Watch/Watch"), *REQUEST[3:]]


def _data(number: int, payload: bytes = EMPTY_MESSAGE, flags: int = frames.END_STREAM) -> bytes:
    return frames.frame(Kind.DATA, flags, number, payload)


async def test_a_call_byte_by_byte() -> None:
    peer = Peer()
    request = frames.frame(Kind.HEADERS, frames.END_HEADERS, 1, hpack.Encoder().encode(REQUEST)) + _data(1)
    for i in range(len(request)):
        peer.send(request[i : i + 1])
    kinds = [(kind, flags) for kind, flags, stream, _ in await peer.answers() if stream == 1]
    assert kinds == [(Kind.HEADERS, 4), (Kind.DATA, 0), (Kind.HEADERS, 5)]
    assert peer.handled == 1


async def test_headers_that_go_on_in_other_frames() -> None:
    peer = Peer()
    block = hpack.Encoder().encode(REQUEST)
    peer.send(frames.frame(Kind.HEADERS, 0, 1, block[:3]))
    peer.send(frames.frame(Kind.CONTINUATION, 0, 1, block[3:9]))
    peer.send(frames.frame(Kind.CONTINUATION, frames.END_HEADERS, 1, block[9:]) + _data(1))
    await peer.answers()
    assert peer.handled == 1


async def test_padding_and_priority_are_stripped() -> None:
    peer = Peer()
    block = b"\x02" + b"\0\0\0\0\x10" + hpack.Encoder().encode(REQUEST) + b"\0\0"
    flags = frames.END_HEADERS | frames.PADDED | frames.PRIORITY_FLAG
    peer.send(frames.frame(Kind.HEADERS, flags, 1, block))
    peer.send(_data(1, b"\x03" + EMPTY_MESSAGE + b"\0\0\0", frames.END_STREAM | frames.PADDED))
    await peer.answers()
    assert peer.handled == 1


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\0\x40\x01" + b"\0" * 6, ErrorCode.FRAME_SIZE_ERROR),
        (_data(1), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(Kind.HEADERS, frames.END_HEADERS, 2, b"\x82"), ErrorCode.PROTOCOL_ERROR),
        (
            frames.frame(Kind.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
            ErrorCode.COMPRESSION_ERROR,
        ),
        (
            frames.frame(Kind.HEADERS, 0, 1) + frames.frame(Kind.PING, 0, 0, b"8" * 8),
            ErrorCode.PROTOCOL_ERROR,
        ),
        (frames.frame(Kind.CONTINUATION, 4, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(0, frames.WINDOW_MAX), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.frame(Kind.SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.frame(Kind.HEADERS, 0xC, 1, b"\x09"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(Kind.HEADERS, 0x24, 1, b"\0\0\0"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(Kind.PUSH_PROMISE, 4, 1, b"\0\0\0\2\x82"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(Kind.PING, 0, 0, b"short"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(Kind.RST_STREAM, 0, 1, b"\0\0\0\0"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(Kind.SETTINGS, 0, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(Kind.PING, 0, 1, b"8" * 8), ErrorCode.PROTOCOL_ERROR),
    ],
)
async def test_a_broken_frame_ends_the_connection(sent: bytes, code: ErrorCode) -> None:
    peer = Peer()
    peer.send(sent)
    assert await peer.fault() == code


@pytest.mark.parametrize(
    "flood",
    [
        frames.frame(Kind.PING, 0, 0, b"8" * 8),
        frames.settings({}),
        frames.frame(Kind.PRIORITY, 0, 1, b"\0" * 5),
    ],
)
async def test_a_flood_of_work_for_nothing_ends_the_connection(flood: bytes) -> None:
    peer = Peer()
    peer.send(flood * 10_001)
    assert await peer.fault() == ErrorCode.ENHANCE_YOUR_CALM


async def test_a_watch_alone_on_its_connection_may_ping_as_long_as_it_gets_answers() -> None:
    """Go's client measures the line with a ping for what it receives; no call ends meanwhile."""
    peer = Peer()
    peer.open(1, WATCH_REQUEST)
    for _ in range(3):
        peer.send(frames.frame(Kind.PING, 0, 0, b"8" * 8) * 5_000 + _data(1, flags=0))
        await peer.answers()
    assert not peer.transport.closed


async def test_a_quiet_connection_may_ping_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keepalives, one in a while, for days."""
    peer = Peer()
    now = peer.connection.loop.time()
    for i in range(12):
        monkeypatch.setattr(peer.connection.loop, "time", lambda i=i: now + 60 * i)
        peer.send(frames.frame(Kind.PING, 0, 0, b"8" * 8) * 1_000)
    assert not peer.transport.closed


async def test_a_fault_in_the_first_bytes_of_a_streaming_call_ends_it() -> None:
    """The handler's task has not had its first turn when it is cancelled."""
    peer = Peer()
    block = hpack.Encoder().encode(WATCH_REQUEST)
    peer.send(frames.frame(Kind.HEADERS, frames.END_HEADERS, 1, block) + _data(1, b"\1\0\0\0\1x", 0))
    (answer,) = [payload for kind, _, s, payload in await peer.answers() if s == 1 and kind == Kind.HEADERS]
    assert ("grpc-status", "12") in hpack.Decoder().decode(answer)
    assert peer.connection.held_bytes == 0


async def test_a_fault_in_this_server_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Peer()
    peer.connection._reader = None  # type: ignore[assignment]
    peer.open(1)
    assert await peer.fault() == ErrorCode.INTERNAL_ERROR
    peer.open(3)
    assert await peer.answers() == []


async def test_messages_that_never_end_are_bounded_over_all_calls() -> None:
    peer = Peer()
    half = b"\0\0\x10\0\0" + b"x" * 16_000
    for number in range(1, 1_200, 2):
        peer.open(number)
        peer.send(_data(number, half, 0) * 8)
    resets = [s for kind, _, s, _ in await peer.answers() if kind == Kind.RST_STREAM]
    assert 50 < len(resets) < 100
    assert peer.connection.held_bytes < 70_000_000
    assert not peer.transport.closed
    for number in range(1, 1_200, 2):
        peer.send(frames.reset(number, ErrorCode.CANCEL))
    assert peer.connection.held_bytes == 0


async def test_messages_that_no_handler_takes_are_bounded_over_all_calls() -> None:
    peer = Peer()
    peer.connection.pause_writing()  # so handlers wait in their first answer
    piece = _data(1, b"\0\0\0\x3f\xfb" + b"\0" * 16_379, 0)
    for number in range(1, 201, 2):
        peer.open(number, WATCH_REQUEST)
        for _ in range(100):
            peer.send(piece[:5] + number.to_bytes(4, "big") + piece[9:])
    assert peer.connection.held_bytes < 70_000_000


async def test_requests_that_are_answered_later_close_the_connections_window() -> None:
    """Whoever sends faster than the disk writes waits, as long as none of his messages is incomplete."""
    peer = Peer()
    peer.hold = asyncio.get_running_loop().create_future()
    head = b"\0" + (1_000_000).to_bytes(4, "big")
    for i in range(72):
        number = 2 * i + 1
        peer.open(number)
        whole = head + b"\x12\xbc\x84\x3d" + bytes(999_996)
        pieces = [whole[at : at + 16_384] for at in range(0, len(whole), 16_384)]
        peer.send(b"".join(_data(number, piece, 0) for piece in pieces) + _data(number, b""))
    opened = _opened(await peer.answers())
    assert 60_000_000 < opened < 80_000_000
    peer.hold.set_result(None)
    answers = await peer.answers()
    assert len([1 for kind, flags, _, _ in answers if kind == Kind.HEADERS and flags & 1]) == 72
    assert opened + _opened(answers) > 85_000_000


def _opened(answers: list[tuple[int, int, int, bytes]]) -> int:
    """By how much the connection's window was opened."""
    return sum(int.from_bytes(p, "big") for kind, _, s, p in answers if kind == Kind.WINDOW_UPDATE and s == 0)


async def test_answers_that_wait_for_windows_hold_further_calls_back() -> None:
    peer = Peer(Limits(unsent_bytes_max=16_000_000))
    peer.answer_bytes = 1_000_000
    peer.send(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 0}))
    for number in range(1, 201, 2):
        peer.open(number)
        peer.send(_data(number))
        await peer.answers()
    assert 10 < peer.handled < 30
    peer.send(frames.window_update(0, 1_000_000_000))
    for number in range(1, 201, 2):
        peer.send(frames.window_update(number, 2_000_000))
        await peer.answers()
    await peer.answers()
    assert peer.handled == 100


async def test_a_client_that_does_not_read_its_goaway_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer()
    timers: list[Any] = []
    monkeypatch.setattr(peer.connection.loop, "call_later", lambda s, call, *a: timers.append((s, call)))
    peer.send(frames.window_update(0, 0))
    assert peer.transport.closed
    assert not peer.transport.aborted
    ((delay_s, cut),) = timers
    assert delay_s <= 10
    cut()
    assert peer.transport.aborted


async def test_a_long_message_in_tiny_frames_costs_no_more_than_its_bytes() -> None:
    peer = Peer(Limits(message_bytes_max=2 << 20))
    peer.open(1)
    peer.send(_data(1, b"\0" + (1_500_000).to_bytes(4, "big"), 0))
    tiny = _data(1, b"x", 0) * 1000
    begun = time.process_time()
    for _ in range(100):
        peer.send(tiny)
    first_s = time.process_time() - begun
    peer.send(b"".join([_data(1, bytes(16_384), 0)] * 70))
    begun = time.process_time()
    for _ in range(100):
        peer.send(tiny)
    assert time.process_time() - begun < 4 * first_s


async def test_headers_without_an_end_are_bounded() -> None:
    peer = Peer()
    peer.send(frames.frame(Kind.HEADERS, 0, 1, b"a" * 16_384))
    peer.send(frames.frame(Kind.CONTINUATION, 0, 1, b"a" * 16_384))
    peer.send(frames.frame(Kind.CONTINUATION, 0, 1, b"a"))
    assert await peer.fault() == ErrorCode.ENHANCE_YOUR_CALM


async def test_calls_opened_only_to_be_reset_end_the_connection() -> None:
    """CVE-2023-44487."""
    peer = Peer()
    encoder = hpack.Encoder()
    for i in range(10_001):
        block = encoder.encode(REQUEST)
        number = 2 * i + 1
        peer.send(
            frames.frame(Kind.HEADERS, frames.END_HEADERS, number, block)
            + frames.reset(number, ErrorCode.CANCEL)
        )
    assert await peer.fault() == ErrorCode.ENHANCE_YOUR_CALM


async def test_calls_beyond_the_limit_are_refused_and_the_others_answered() -> None:
    peer = Peer(Limits(streams_max=2))
    peer.hold = asyncio.get_running_loop().create_future()
    for number in (1, 3, 5):
        peer.open(number)
        peer.send(_data(number))
    refused = [s for kind, _, s, payload in await peer.answers() if kind == Kind.RST_STREAM]
    assert refused == [5]
    peer.hold.set_result(None)
    ended = {s for kind, flags, s, _ in await peer.answers() if kind == Kind.HEADERS and flags & 1}
    assert ended == {1, 3}


async def test_a_stream_may_not_run_over_its_window() -> None:
    """A streaming handler that does not take its messages bounds what its client may send."""
    peer = Peer()
    peer.open(1, WATCH_REQUEST)
    piece = _data(1, b"\0\0\0\x3f\xfb" + b"\0" * 16_379, 0)
    peer.send(piece * 300)
    resets = [payload for kind, _, s, payload in await peer.answers() if kind == Kind.RST_STREAM]
    assert resets == [ErrorCode.FLOW_CONTROL_ERROR.to_bytes(4, "big")]


async def test_a_client_that_does_not_read_is_not_read_from() -> None:
    peer = Peer()
    peer.connection.pause_writing()
    assert not peer.transport.reading
    peer.connection.resume_writing()
    assert peer.transport.reading


async def test_windows_that_shrink_hold_an_answer_back_until_they_open() -> None:
    peer = Peer()
    peer.send(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 3}))
    peer.open(1)
    peer.send(_data(1))
    data = [payload for kind, _, s, payload in await peer.answers() if kind == Kind.DATA]
    assert data == [b"\0\0\0"]
    peer.send(frames.window_update(1, 100))
    rest = [(kind, payload) for kind, _, s, payload in await peer.answers() if s == 1]
    assert rest[0] == (Kind.DATA, b"\0\0")
    assert rest[1][0] == Kind.HEADERS


async def test_a_call_is_counted_once_though_its_answer_was_not_read() -> None:
    peer = Peer()
    peer.send(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 0}))
    for number in (1, 3):
        peer.open(number)
        peer.send(_data(number))
    await peer.answers()
    peer.hold = asyncio.get_running_loop().create_future()
    peer.open(5)
    peer.send(_data(5))
    await peer.answers()
    peer.send(frames.reset(1, ErrorCode.CANCEL))
    peer.connection.connection_lost(None)
    await peer.answers()
    assert peer.codes == [Code.OK, Code.OK, Code.CANCELLED]


async def test_wider_windows_are_used_after_they_were_acknowledged() -> None:
    """Until the client has the acknowledgement it counts by the old ones (RFC 9113, section 6.5.3)."""
    peer = Peer()
    peer.send(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 3}))
    peer.open(1)
    peer.send(_data(1))
    await peer.answers()
    peer.send(frames.settings({frames.Setting.INITIAL_WINDOW_SIZE: 100}))
    kinds = [(kind, flags) for kind, flags, _, _ in await peer.answers()]
    assert kinds[0] == (Kind.SETTINGS, frames.ACK)
    assert kinds[1][0] == Kind.DATA


async def test_what_is_not_grpc_is_told_so() -> None:
    peer = Peer()
    peer.open(1, [*REQUEST[:4], ("content-type", "application/json")])
    (answer,) = [payload for kind, _, s, payload in await peer.answers() if s == 1 and kind == Kind.HEADERS]
    assert (":status", "415") in hpack.Decoder().decode(answer)


async def test_a_compressed_message_is_refused_by_a_status() -> None:
    peer = Peer()
    peer.open(1)
    peer.send(_data(1, b"\1\0\0\0\1x"))
    (answer,) = [payload for kind, _, s, payload in await peer.answers() if s == 1 and kind == Kind.HEADERS]
    assert ("grpc-status", "12") in hpack.Decoder().decode(answer)


async def test_shutting_down_lets_calls_end() -> None:
    peer = Peer()
    peer.hold = asyncio.get_running_loop().create_future()
    peer.open(1)
    peer.send(_data(1))
    await peer.answers()
    peer.connection.shut_down()
    peer.open(3)
    kinds = [(kind, s) for kind, _, s, _ in await peer.answers()]
    assert kinds == [(Kind.GOAWAY, 0), (Kind.RST_STREAM, 3)]
    peer.hold.set_result(None)
    assert [s for kind, flags, s, _ in await peer.answers() if kind == Kind.HEADERS and flags & 1] == [1]
    assert peer.transport.closed


@given(st.lists(st.binary(max_size=200), max_size=8), st.booleans())
def test_any_bytes_end_in_an_answer_or_a_goaway(pieces: list[bytes], valid_frames: bool) -> None:
    async def play() -> None:
        peer = Peer()
        for i, piece in enumerate(pieces):
            if peer.transport.closed:
                break
            kind = piece[0] % 11 if piece else 0
            flags = piece[1] if len(piece) > 1 else 0
            peer.send(frames.frame(kind, flags, 2 * i + 1, piece[2:]) if valid_frames else piece)
        await peer.answers()
        peer.connection.connection_lost(None)

    asyncio.run(play())


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "grpc-timeout", "x-long"]), st.text("ab1", max_size=300)), max_size=6
    )
)
def test_fixed_header_blocks_are_read_by_any_decoder(fields: list[tuple[str, str]]) -> None:
    assert [tuple(f) for f in hpack.Decoder().decode(headers.block(fields))] == fields


async def test_repeated_headers_are_read_as_the_table_stands() -> None:
    """The second block is one byte per field, and means what the first one put into the table."""
    encoder, reader = hpack.Encoder(), headers.HeaderReader()
    for token in ("one", "two", "two", "two", "one"):
        fields = [*REQUEST, ("token", token)]
        assert reader.read(encoder.encode(fields)) == dict(fields)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5S", 5.0),
        ("100m", 0.1),
        ("2H", 7200.0),
        ("1u", 1e-6),
        ("", None),
        ("S", None),
        ("x9S", None),
        ("123456789S", None),
    ],
)
def test_timeouts(text: str, seconds: float | None) -> None:
    assert timeout_s(text) == seconds
