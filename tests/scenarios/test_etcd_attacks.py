"""What hostile and broken clients do to `pilothouse etcd`, and that it harms nobody else.

Bytes are written by hand: no client library would send most of this.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import hpack
import pytest

from pilothouse.etcd.server.http2 import frames
from pilothouse.etcd.server.http2.frames import Kind, Setting
from pilothouse.etcd.wire import etcd_pb2 as pb
from tests.unit.etcd.server.certificates import Ca

from .etcd_tools import Etcdctl
from .processes import ready_line, running

_MB = 1 << 20


class Target(NamedTuple):
    pid: int
    port: int
    tls_port: int
    ca: Path
    log: Path

    def connect(self, *, tls: bool = False, receive_bytes: int = 0) -> socket.socket:
        sock = socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", self.tls_port if tls else self.port))
        return sock

    def resident_bytes(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

    def serves_others(self) -> None:
        ctl = Etcdctl("--endpoints", f"127.0.0.1:{self.port}")
        assert ctl("put", "other", "client") == "OK\n"
        assert ctl("get", "other", "--print-value-only") == "client\n"

    def said_nothing(self) -> None:
        assert self.log.read_text() == ""


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    ca = Ca(tmp_path)
    certificate, key = ca.issue("server")
    log = tmp_path / "log"
    with running(
        "etcd", "--data-dir", str(tmp_path / "data"),
        "--listen-client-urls", "http://127.0.0.1:0,https://127.0.0.1:0",
        "--cert-file", str(certificate), "--key-file", str(key),
        "--trusted-ca-file", str(ca.file), "--client-cert-auth",
        log=log,
    ) as process:  # fmt: skip
        plain, secure = re.findall(r"https?://127\.0\.0\.1:(\d+)", ready_line(process, log))
        yield Target(process.pid, int(plain), int(secure), ca.file, log)
        assert process.poll() is None


class Http2:
    """A client that keeps no rule but HPACK's."""

    def __init__(self, sock: socket.socket, window_bytes: int = frames.WINDOW_DEFAULT) -> None:
        self.sock = sock
        self._encoder = hpack.Encoder()
        sock.sendall(frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: window_bytes}))

    def head(self, number: int, method: str) -> bytes:
        fields = [
            (":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "a"),
            ("content-type", "application/grpc"), ("te", "trailers"),
        ]  # fmt: skip
        return frames.frame(Kind.HEADERS, frames.END_HEADERS, number, self._encoder.encode(fields))

    def call(self, number: int, method: str, message: bytes) -> bytes:
        framed = b"\0" + len(message).to_bytes(4, "big") + message
        pieces = [framed[at : at + frames.PAYLOAD_MAX] for at in range(0, len(framed), frames.PAYLOAD_MAX)]
        data = [frames.frame(Kind.DATA, 0, number, piece) for piece in pieces]
        return self.head(number, method) + b"".join(data) + frames.frame(Kind.DATA, 1, number)


def test_broken_handshakes_are_no_news(target: Target) -> None:
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(300), b"\x16\x03", frames.PREFACE):
        with target.connect(tls=True) as sock:
            sock.sendall(garbage)
            if len(garbage) > 2:
                assert not sock.recv(100).startswith(b"HTTP")
    with target.connect(tls=True) as sock:  # goes away in the middle
        sock.sendall(b"\x16\x03\x01\x02")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    context = ssl.create_default_context(cafile=str(target.ca))
    context.check_hostname = False
    with (
        target.connect(tls=True) as sock,
        contextlib.suppress(ssl.SSLError, ConnectionError),
        context.wrap_socket(sock) as without_certificate,
    ):
        without_certificate.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert without_certificate.recv(100) == b""
    target.serves_others()
    target.said_nothing()


def test_messages_that_never_end(target: Target) -> None:
    """Four thousand calls of two megabytes that lack their last byte would be eight gigabytes."""
    before = target.resident_bytes()
    peer = Http2(target.connect())
    piece = b"\0" + (2 * _MB - 600_000).to_bytes(4, "big") + bytes(16_000)
    with contextlib.suppress(ConnectionError):
        for number in range(1, 8_000, 2):
            peer.sock.sendall(peer.head(number, "/etcdserverpb.KV/Put"))
            for _ in range(16):
                peer.sock.sendall(frames.frame(Kind.DATA, 0, number, piece[: frames.PAYLOAD_MAX]))
                piece = bytes(16_000)
            piece = b"\0" + (2 * _MB - 600_000).to_bytes(4, "big") + bytes(16_000)
    target.serves_others()
    assert target.resident_bytes() - before < 200 * _MB
    peer.sock.close()
    target.said_nothing()


@pytest.mark.parametrize("window_bytes", [0, frames.WINDOW_MAX])
def test_answers_that_nobody_reads(target: Target, window_bytes: int) -> None:
    """Two thousand times four megabytes, into a closed window or into a full socket."""
    ctl = Etcdctl("--endpoints", f"127.0.0.1:{target.port}")
    for i in range(40):
        assert ctl("put", f"big{i}", "x" * 100_000) == "OK\n"
    before = target.resident_bytes()
    peer = Http2(target.connect(receive_bytes=4096), window_bytes)
    if window_bytes:
        peer.sock.sendall(frames.window_update(0, frames.WINDOW_MAX - frames.WINDOW_DEFAULT))
    everything = pb.RangeRequest(key=b"big", range_end=b"bih").SerializeToString()
    peer.sock.settimeout(2)
    with contextlib.suppress(TimeoutError, ConnectionError):
        for number in range(1, 4_000, 2):
            peer.sock.sendall(peer.call(number, "/etcdserverpb.KV/Range", everything))
    target.serves_others()
    assert target.resident_bytes() - before < 500 * _MB
    peer.sock.close()
    target.serves_others()
    target.said_nothing()


def test_two_thousand_connections_that_say_little(target: Target) -> None:
    before = target.resident_bytes()
    beginnings = (b"", b"P", b"PRI * HTTP", b"GET / HT", frames.PREFACE, frames.PREFACE + frames.settings({}))
    socks = []
    for i in range(2_000):
        socks.append(target.connect())
        socks[-1].sendall(beginnings[i % len(beginnings)])
    target.serves_others()
    assert target.resident_bytes() - before < 50 * _MB
    for sock in socks:
        sock.close()
    target.said_nothing()


def test_a_watch_by_itself_outlives_ten_thousand_answers_and_pings(target: Target) -> None:
    """As Go's client does: a ping for what it receives. Nothing else is said on its connection."""
    peer = Http2(target.connect(), frames.WINDOW_MAX)
    create = pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"w")).SerializeToString()
    framed = b"\0" + len(create).to_bytes(4, "big") + create
    peer.sock.sendall(peer.head(1, "/etcdserverpb.Watch/Watch") + frames.frame(Kind.DATA, 0, 1, framed))
    ping = frames.frame(Kind.PING, 0, 0, b"8" * 8)
    ctl = Etcdctl("--endpoints", f"127.0.0.1:{target.port}")
    for i in range(6):
        for _ in range(4_000):
            peer.sock.sendall(ping)
        assert ctl("put", "w", f"value-{i}") == "OK\n"
        received = b""
        while b"value-%d" % i not in received:
            piece = peer.sock.recv(65_536)
            assert piece, "the connection was ended"
            received += piece
    peer.sock.close()
    target.said_nothing()


def test_bytes_that_are_no_frames(target: Target) -> None:
    for seed in range(30):
        with target.connect() as sock, contextlib.suppress(ConnectionError):
            sock.sendall(frames.PREFACE + os.urandom(20 + seed * 50))
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
    done = subprocess.run(
        ["curl", "-s", "-d", "[" * 100_000, f"http://127.0.0.1:{target.port}/v3/kv/txn"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"code":3' in done.stdout
    target.serves_others()
    target.said_nothing()
