"""The HTTPS door: aiohttp turned into `Request` and `Response`, and nothing else.

aiohttp stays inside this file, so that the server library can be changed without a handler noticing
(docs/decisions/0003). What is served is decided by the pipeline.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qs, unquote

from aiohttp import HttpVersion11, WSMsgType, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.apiserver.request import Request, Response

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 3 * 1024 * 1024
_AT_ONCE_BYTES_MAX = 64 * 1024
"""What goes to the transport in one piece; larger answers wait for the client to read (back-pressure)."""
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
        server = web.Server(self._serve, handler_cancellation=True, access_log=None, keepalive_timeout=180)
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
            unquote(raw.rel_url.raw_path),
            parse_qs(raw.rel_url.raw_query_string, keep_blank_values=True)
            if raw.rel_url.raw_query_string
            else {},
            _headers(raw),
            None,
            peer_certificate=_peer_certificate(raw),
            remote=raw.remote or "",
        )
        if _is_upgrade(request):
            request.upgrade = _Upgrade(raw)
        try:
            if raw.can_read_body:
                request.body = await _read_body(raw)
        except errors.ApiError as refusal:
            return _refusal(refusal)
        response = await self._handler(request)
        if request.upgrade is not None and request.upgrade.taken is not None:
            return request.upgrade.taken  # type: ignore[no-any-return]
        return await _send(raw, request, response)


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


def _headers(raw: web.BaseRequest) -> dict[str, str]:
    """Lower-case names; repeated headers joined by a comma (Impersonate-Group and Accept repeat), which
    impersonation splits again on `\\n` where a value may hold commas."""
    headers: dict[str, str] = {}
    for key, value in raw.headers.items():
        key = key.lower()
        if key in headers:
            separator = "\n" if key.startswith("impersonate-") else ", "
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


def _refusal(refusal: errors.ApiError) -> web.Response:
    import msgspec

    response = web.Response(
        status=refusal.code, body=msgspec.json.encode(refusal.status()), content_type="application/json"
    )
    response.force_close()
    return response


async def _send(raw: web.BaseRequest, request: Request, response: Response) -> web.StreamResponse:
    headers: CIMultiDict[str] = CIMultiDict(response.headers)
    for text in request.warnings:
        headers.add("Warning", warning_header(text))
    headers.setdefault("Cache-Control", "no-cache, private")
    if not isinstance(response.body, bytes):
        return await _stream(raw, response.status, headers, response.body)
    if len(response.body) <= _AT_ONCE_BYTES_MAX and raw.version == HttpVersion11 and raw.method != "HEAD":
        return cast(web.StreamResponse, _AtOnce(response.status, headers, response.body))
    return _Answer(status=response.status, body=response.body, headers=headers)


async def _stream(
    raw: web.BaseRequest, status: int, headers: CIMultiDict[str], chunks: AsyncIterator[bytes]
) -> web.StreamResponse:
    stream = _Stream(status=status, headers=headers)
    stream.enable_chunked_encoding()
    await stream.prepare(raw)
    try:
        async for chunk in chunks:
            await stream.write(chunk)
        await stream.write_eof()
    except (ConnectionError, HttpProcessingError):
        log.debug("client went away during a stream", extra={"path": raw.path})
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    return stream


class _Nameless:
    """aiohttp names itself and its version in every answer; upstream's server says nothing about itself."""

    async def _write_headers(self: Any) -> None:
        self._headers.pop("Server", None)
        await super()._write_headers()  # type: ignore[misc]


class _Answer(_Nameless, web.Response):
    pass


class _Stream(_Nameless, web.StreamResponse):
    pass


class _AtOnce:
    """A small answer: head and body in one write. aiohttp's own preparation of a response (cookies, compression,
    ranges, drain) costs a fifth of a GET; of its interface the server needs what stands here."""

    def __init__(self, status: int, headers: CIMultiDict[str], body: bytes) -> None:
        self.status = status
        self.keep_alive = True
        self._headers = headers
        self._body = body

    async def prepare(self, request: web.BaseRequest) -> None:
        self.keep_alive = request.keep_alive
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client went away")
        transport.write(self._head() + self._body)

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


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"


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
        assert self._socket is not None
        message = await self._socket.receive()
        if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
            return message.data if isinstance(message.data, bytes) else message.data.encode()
        return None

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


async def wait_closed(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
