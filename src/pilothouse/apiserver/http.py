"""The HTTPS door: aiohttp turned into `Request` and `Response`, and nothing else.

aiohttp stays inside this file, so that the server library can be changed without a handler noticing
(docs/decisions/0003). What is served is decided by the pipeline.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qs, unquote

import msgspec
from aiohttp import HttpVersion11, WSMsgType, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict, istr

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.warnings import recorded

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 3 * 1024 * 1024
HEAD_BYTES_MAX = 1024 * 1024
"""Request line and headers together (net/http DefaultMaxHeaderBytes)."""
HEAD_TIMEOUT_S = 32.0
"""From the first byte of a request's head to its last (kube-apiserver's ReadHeaderTimeout)."""
IDLE_TIMEOUT_S = 90.0
"""How long a connection may wait for its next request (kube-apiserver's IdleTimeout)."""
STALL_TIMEOUT_S = 60.0
"""How long a client may take for the next piece of an answer; then its connection is cut, and what waits for it
goes away."""
_FLOW_SCHEMA = istr("X-Kubernetes-Pf-Flowschema-Uid")
_PRIORITY_LEVEL = istr("X-Kubernetes-Pf-Prioritylevel-Uid")
_PIECE_BYTES = 64 * 1024
"""What goes to the transport at once; larger answers wait for the client to read (back-pressure)."""
_HEADERS_MAX = 10_000
_DRAIN_BYTES_MAX = 16 * 1024 * 1024
"""How much of an oversized body is read so that the client sees the answer rather than a reset."""

Handler = Callable[[Request], Awaitable[Response]]


def warning_header(text: str) -> str:
    """RFC 7234 warn-text as upstream's net.NewWarningHeader: code 299, agent "-"."""
    return f"299 - {go_quote(text)}"


class HttpServer:
    """Listens with TLS and hands every request to `handler`."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext, *, host: str, port: int) -> None:
        self._handler = handler
        self._tls = tls
        self._host = host
        self._port = port
        self._runner: web.ServerRunner | None = None
        self._socket: socket.socket | None = None
        self.port = port

    async def bind(self) -> None:
        """Take the address. OSError when somebody has it; `port` is the real one afterwards."""
        self._socket = _listen(self._host, self._port)
        self.port = self._socket.getsockname()[1]

    async def start(self) -> None:
        """Serve; binds first if that was not done."""
        if self._socket is None:
            await self.bind()
        assert self._socket is not None
        server = _Server(
            self._serve,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=IDLE_TIMEOUT_S,
            max_line_size=HEAD_BYTES_MAX,
            max_field_size=HEAD_BYTES_MAX,
            max_headers=_HEADERS_MAX,
            auto_decompress=False,  # a small zipped body can become a huge one; upstream reads none either
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.SockSite(self._runner, self._socket, ssl_context=self._tls, backlog=1024)
        await site.start()

    async def stop(self) -> None:
        """Stop listening and close connections; running watches end."""
        if self._runner:
            await self._runner.cleanup()

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        request = Request(
            raw.method,
            unquote(_text(raw.rel_url.raw_path)),
            parse_qs(_text(raw.rel_url.raw_query_string), keep_blank_values=True)
            if raw.rel_url.raw_query_string
            else {},
            _headers(raw),
            None,
            peer_certificate=_peer_certificate(raw),
            remote=raw.remote or "",
        )
        if _is_upgrade(request):
            request.upgrade = _Upgrade(raw)
        if raw.can_read_body:
            request.receive = partial(_read_body, raw)
        response = await self._handler(request)
        if request.upgrade is not None and request.upgrade.taken is not None:
            return request.upgrade.taken  # type: ignore[no-any-return]
        return await _send(raw, request, response)


class _Connection(RequestHandler):
    """aiohttp's connection, with net/http's bounds on the size and the time of a request's head.

    aiohttp bounds each line alone, and lets a client send a head byte by byte for as long as it is idle."""

    __slots__ = ("_head_bytes", "_late")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._late: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            self._head_goes_on(len(data))
        elif self._head_bytes:
            self._head_ended()

    def _head_goes_on(self, size: int) -> None:
        self._head_bytes += size
        if self._late is None:
            self._late = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self.force_close)
        if self._head_bytes > HEAD_BYTES_MAX and self.transport is not None:
            self.transport.write(_plain_answer(431).encoded())
            self._head_ended()
            self.force_close()

    def _head_ended(self) -> None:
        self._head_bytes = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self._head_ended()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is answered as net/http does, and is no news; a failure of the server is. Go takes any
        word for a method and lets the API refuse it; aiohttp's parser knows a list of them."""
        if isinstance(exc, BadHttpMethod):
            return cast(web.StreamResponse, _not_supported())
        if status < 500:
            log.debug("no HTTP request: %s", message, extra={"remote": request.remote})
        else:
            log.error("request failed", exc_info=exc, extra={"method": request.method, "path": request.path})
        return cast(web.StreamResponse, _plain_answer(431 if isinstance(exc, LineTooLong) else status))


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


_SINGLE = frozenset(("authorization", "content-type", "impersonate-user", "impersonate-uid", "user-agent"))
"""Headers of which the first one counts (Go's Header.Get)."""


def _text(value: str) -> str:
    """Bytes that are no UTF-8 come as lone surrogates, which nothing behind could encode again."""
    if value.isascii():
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _headers(raw: web.BaseRequest) -> dict[str, str]:
    """Lower-case names; repeated headers joined by a comma (Impersonate-Group and Accept repeat), which
    impersonation and front proxies' headers are split by again (`\\n`) where a value may hold commas."""
    headers: dict[str, str] = {}
    for key, value in raw.headers.items():
        key, value = key.lower(), _text(value)
        if key in _SINGLE:
            headers.setdefault(key, value)
        elif key in headers:
            separator = "\n" if key.startswith(("impersonate-", "x-remote-")) else ", "
            headers[key] = headers[key] + separator + value
        else:
            headers[key] = value
    return headers


def _peer_certificate(raw: web.BaseRequest) -> bytes | None:
    transport = raw.transport
    if transport is None:
        return None
    tls = transport.get_extra_info("ssl_object")
    return tls.getpeercert(True) if tls is not None else None


def _is_upgrade(request: Request) -> bool:
    return "upgrade" in request.headers.get("connection", "").lower()


async def _read_body(raw: web.BaseRequest) -> bytes:
    declared = raw.content_length
    if declared is not None and declared <= BODY_BYTES_MAX:
        return await raw.content.read()
    chunks: list[bytes] = []
    size = 0
    async for chunk in raw.content.iter_any():
        size += len(chunk)
        if size <= BODY_BYTES_MAX:
            chunks.append(chunk)
        elif size > _DRAIN_BYTES_MAX:
            break
    if size > BODY_BYTES_MAX:
        raise errors.request_too_large(f"Request entity too large: limit is {BODY_BYTES_MAX}")
    return b"".join(chunks)


async def _send(raw: web.BaseRequest, request: Request, response: Response) -> web.StreamResponse:
    headers: CIMultiDict[str] = CIMultiDict(response.headers)
    if request.warnings:
        for text in recorded(request.warnings):
            headers.add("Warning", warning_header(text))
    headers.setdefault("Cache-Control", "no-cache, private")
    if request.flow is not None:
        headers[_FLOW_SCHEMA], headers[_PRIORITY_LEVEL] = request.flow
    if isinstance(response.body, bytes):
        return cast(web.StreamResponse, _Answer(response.status, headers, response.body))
    return await _stream(raw, response.status, headers, response.body)


async def _stream(
    raw: web.BaseRequest, status: int, headers: CIMultiDict[str], chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    stream = _Stream(status=status, headers=headers)
    if raw.version >= HttpVersion11:
        stream.enable_chunked_encoding()
    try:
        await stream.prepare(raw)
        async for chunk in chunks:
            for piece in _pieces(chunk):
                if _is_idle(raw) and len(piece) < _PIECE_BYTES // 2:
                    await stream.write(piece)  # cannot block, and a timer costs a fifth of such a write
                else:
                    await _in_time(raw, stream.write(piece))
        await stream.write_eof()
    except (ConnectionError, HttpProcessingError):
        log.debug("client went away during a stream", extra={"path": raw.path})
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return stream


def _is_idle(raw: web.BaseRequest) -> bool:
    """Whether the client has taken all that was written."""
    transport = raw.transport
    return transport is not None and cast(asyncio.WriteTransport, transport).get_write_buffer_size() == 0


def _pieces(data: bytes) -> Iterator[bytes | memoryview]:
    if len(data) <= _PIECE_BYTES:
        yield data
        return
    whole = memoryview(data)
    for at in range(0, len(data), _PIECE_BYTES):
        yield whole[at : at + _PIECE_BYTES]


async def _in_time(raw: web.BaseRequest, write: Awaitable[None]) -> None:
    """Wait until the client has taken what was written before; one that does not is cut off."""
    transport = raw.transport
    try:
        async with asyncio.timeout(STALL_TIMEOUT_S):
            await write
    except TimeoutError:
        log.info("client does not read its answer: connection cut", extra={"path": raw.path})
        if transport is not None:
            transport.abort()
        raise ConnectionResetError("the client does not read") from None


class _Nameless:
    """aiohttp names itself and its version in every answer; upstream's server says nothing about itself."""

    async def _write_headers(self: Any) -> None:
        self._headers.pop("Server", None)
        await super()._write_headers()  # type: ignore[misc]


class _Stream(_Nameless, web.StreamResponse):
    pass


class _Answer:
    """A whole answer; head and body of a small one go out in one write. aiohttp's own preparation of a response
    (cookies, compression, ranges, drain) costs a fifth of a GET; of its interface the server needs what stands here."""

    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes, *, close: bool = False) -> None:
        self.status = status
        self.keep_alive = not close
        self._headers = headers
        self._body = body

    def encoded(self) -> bytes:
        """The whole answer as it goes over the wire."""
        return self._head() + self._body

    async def prepare(self, request: web.BaseRequest) -> None:
        self.keep_alive = self.keep_alive and request.keep_alive and request.version >= HttpVersion11
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        body = b"" if request.method == "HEAD" else self._body
        if len(body) <= _PIECE_BYTES:
            transport.write(self._head() + body)
        else:
            transport.write(self._head())
            for piece in _pieces(body):
                transport.write(piece)
                await self._back_pressure(request, transport)
        await self._back_pressure(request, transport)

    async def _back_pressure(self, request: web.BaseRequest, transport: asyncio.WriteTransport) -> None:
        """One who asks and asks and never reads must not fill the memory."""
        if transport.get_write_buffer_size() > _PIECE_BYTES:
            await _in_time(request, request.writer.drain())

    def _head(self) -> bytes:
        lines = [_status_line(self.status)]
        for name, value in self._headers.items():
            if "\n" in value or "\r" in value:
                raise ValueError(f"header {name} has a line break")
            lines.append(f"{name}: {value}")
        lines.append(f"Content-Length: {len(self._body)}")
        lines.append(f"Date: {rfc822_formatted_time()}")
        lines.append("\r\n" if self.keep_alive else "Connection: close\r\n\r\n")
        return "\r\n".join(lines).encode()

    async def write_eof(self) -> None:
        """Nothing is left to write."""


def _not_supported() -> _Answer:
    refusal = errors.method_not_supported()
    headers = CIMultiDict({"Content-Type": "application/json"})
    return _Answer(refusal.code, headers, msgspec.json.encode(refusal.status()), close=True)


def _plain_answer(status: int) -> _Answer:
    """net/http's own answers; the connection ends with them."""
    headers = CIMultiDict({"Content-Type": "text/plain; charset=utf-8"})
    return _Answer(status, headers, _status_text(status).encode(), close=True)


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {_status_text(status)}"


def _status_text(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"


class _Upgrade:
    """Lets a handler take over the connection as a WebSocket."""

    def __init__(self, raw: web.BaseRequest) -> None:
        self._raw = raw
        self.taken: web.StreamResponse | None = None
        self._socket: web.WebSocketResponse | None = None

    async def websocket(self, protocols: tuple[str, ...]) -> str:
        """Accept; returns the sub-protocol that both sides know ("" for none)."""
        self._socket = web.WebSocketResponse(protocols=protocols)
        await self._socket.prepare(self._raw)
        self.taken = self._socket
        return self._socket.ws_protocol or ""

    async def send(self, data: bytes) -> None:
        assert self._socket is not None
        await self._socket.send_bytes(data)

    async def send_text(self, text: str) -> None:
        assert self._socket is not None
        await self._socket.send_str(text)

    async def receive(self) -> bytes | None:
        """The next message; None when the peer closed."""
        message = await self.receive_message()
        return message[0] if message is not None else None

    async def receive_message(self) -> tuple[bytes, bool] | None:
        """The next message, and whether it is text; None when the peer closed."""
        assert self._socket is not None
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            return message.data.encode(), True
        return (message.data, False) if message.type is WSMsgType.BINARY else None

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()


def server_tls(certificate_file: str, key_file: str, client_ca_pem: str) -> ssl.SSLContext:
    """TLS 1.2 or later; a client certificate is asked for and, when given, must come from a client CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_file, key_file)
    context.load_verify_locations(cadata=client_ca_pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
