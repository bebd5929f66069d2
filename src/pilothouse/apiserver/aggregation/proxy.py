"""A request's way to an extension API server, and its answer's way back
(k8s.io/kube-aggregator/pkg/apiserver/handler_proxy.go)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from multidict import CIMultiDict

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.aggregation import headers
from pilothouse.apiserver.aggregation.availability import is_available
from pilothouse.apiserver.aggregation.connection import Connections, Target
from pilothouse.apiserver.aggregation.services import Unreachable
from pilothouse.apiserver.request import Request, Response

log = logging.getLogger(__name__)

_TEXT = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
_decode = msgspec.json.Decoder().decode


def failed(code: int, text: str) -> Response:
    """As Go's http.Error says it."""
    return Response(code, f"{text}\n".encode(), dict(_TEXT))


class Proxy:
    """Of one APIService, as it was when this was made."""

    def __init__(self, connections: Connections, target: Target, api_service: Obj) -> None:
        self._connections = connections
        self._target = target
        self._available = is_available(api_service)

    async def handle(self, request: Request) -> Response:
        if not self._available:
            return failed(503, "service unavailable")
        sent = _sent(request)
        try:
            if request.upgrade is not None and "upgrade" in request.headers:
                return await self._upgraded(request, sent)
            answer = await self._ask(request, sent)
        except Unreachable as error:
            return failed(503, _told(str(error)))
        except TimeoutError:
            return failed(503, _told("context deadline exceeded"))
        if request.in_process:
            return await _in_process(request, answer)
        return Response(answer.status, _Body(answer), headers.returned(answer.headers))

    async def _ask(self, request: Request, sent: CIMultiDict[str]) -> aiohttp.ClientResponse:
        assert request.user is not None
        body = request.body
        if body is not None and not isinstance(body, bytes):
            body = msgspec.json.encode(body)
        return await self._connections.request(
            self._target,
            request.method,
            request.path,
            request.user,
            query=request.query,
            sent=sent,
            body=body,
        )

    async def _upgraded(self, request: Request, sent: CIMultiDict[str]) -> Response:
        assert request.user is not None
        if request.headers["upgrade"].lower() != "websocket":
            return failed(400, f"unable to upgrade connection: {request.headers['upgrade']} is not proxied")
        asked = request.headers.get("sec-websocket-protocol", "")
        protocols = tuple(p.strip() for p in asked.split(",") if p.strip())
        behind = await self._connections.websocket(
            self._target, request.path, request.user, query=request.query, sent=sent, protocols=protocols
        )
        async with behind:
            await request.upgrade.websocket((behind.protocol,) if behind.protocol else ())
            forth = asyncio.ensure_future(_forth(request.upgrade, behind))
            try:
                await _back(behind, request.upgrade)
            finally:
                forth.cancel()
                await asyncio.gather(forth, return_exceptions=True)
        await request.upgrade.close()
        return Response(101)


def _told(text: str) -> str:
    prefix = "error trying to reach service: "
    return text if text.startswith(prefix) else prefix + text


def _sent(request: Request) -> CIMultiDict[str]:
    """What goes on, and what a proxy adds (apimachinery's util/proxy Transport)."""
    sent = headers.forwarded(request.headers)
    sent["X-Forwarded-Uri"] = quote(request.path)
    host = request.headers.get("host", "")
    if host:
        sent["X-Forwarded-Host"] = host
    sent["X-Forwarded-Proto"] = "https"
    if request.remote and not request.in_process:
        before = request.headers.get("x-forwarded-for")
        sent["X-Forwarded-For"] = f"{before}, {request.remote}" if before else request.remote
    if request.in_process and request.body is None:
        sent.pop("Content-Type", None)
    return sent


async def _forth(ours: Any, behind: aiohttp.ClientWebSocketResponse) -> None:
    """From the client; ends the connection behind when the client ends its own."""
    while (message := await ours.receive_message()) is not None:
        data, is_text = message
        if is_text:
            await behind.send_str(data.decode())
        else:
            await behind.send_bytes(data)
    await behind.close()


async def _back(behind: aiohttp.ClientWebSocketResponse, ours: Any) -> None:
    try:
        async for message in behind:
            if message.type == aiohttp.WSMsgType.TEXT:
                await ours.send_text(message.data)
            elif message.type == aiohttp.WSMsgType.BINARY:
                await ours.send(message.data)
    except ConnectionError:
        log.debug("the client of a WebSocket went away")


class _Body:
    """An answer's body as chunks. Not a generator: one that was never begun would not let go of the connection."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self._chunks = answer.content.iter_any()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._chunks.__anext__()
        except (aiohttp.ClientError, OSError) as error:
            log.info("an extension API server broke off its answer: %s", error)
            raise ConnectionResetError("the extension API server went away") from error

    async def aclose(self) -> None:
        self._answer.close()


async def _in_process(request: Request, answer: aiohttp.ClientResponse) -> Response:
    if request.info.verb == "watch" and answer.status == 200:
        return Response(200, b"", {}, stream=_events(answer))
    try:
        body = await answer.read()
    except aiohttp.ClientError as error:
        return failed(503, _told(str(error)))
    finally:
        answer.close()
    return Response(answer.status, body, headers.returned(answer.headers))


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[list[tuple[str, Obj]]]:
    """A watch's events as in-process clients take them. Raises ApiError for an error event."""
    rest = b""
    try:
        async for chunk in answer.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            batch = [_event(line) for line in lines if line.strip()]
            if batch:
                yield batch
    except aiohttp.ClientError as error:
        log.info("an extension API server broke off a watch: %s", error)
    finally:
        answer.close()


def _event(line: bytes) -> tuple[str, Obj]:
    event = _decode(line)
    if event["type"] == "ERROR":
        raise errors.ApiError.from_status(event["object"], event["object"].get("code", 500))
    return event["type"], event["object"]
