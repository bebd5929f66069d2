"""HTTPS to an API server, for components that run alone. HTTP/1.1, keep-alive, JSON."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import aiohttp
import msgspec

from pilothouse.api.errors import ApiError
from pilothouse.api.types import Obj

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Tokens(Protocol):
    """A source of bearer tokens that may change."""

    async def current(self) -> str:
        """The token to send now; "" for none."""

    def refused(self) -> None:
        """The server answered 401: the next one should be new."""


class Throttle(Protocol):
    async def wait(self) -> None:
        """Until a request may be sent."""


class HttpTransport:
    """`tokens` are for who has no client certificate in the TLS context. `throttle` holds requests back, but not
    watches once they run (client-go's --kube-api-qps)."""

    def __init__(
        self,
        server: str,
        tls: ssl.SSLContext,
        *,
        tokens: Tokens | None = None,
        throttle: Throttle | None = None,
        user_agent: str = "pilothouse",
        server_name: str = "",
        connections_max: int = 64,
    ) -> None:
        self._server = server.rstrip("/")
        self._tls = tls
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        self._tokens = tokens
        self._throttle = throttle
        self._connections_max = connections_max
        self._server_name = server_name or None
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls, limit=self._connections_max + 64)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, timeout=aiohttp.ClientTimeout(total=None)
            )
        return self._session

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        data = _encode(body) if body is not None else None
        headers = await self._before()
        if data is not None:
            headers["Content-Type"] = content_type
        try:
            async with self._open().request(
                method,
                self._server + path,
                params=query,
                data=data,
                headers=headers,
                server_hostname=self._server_name,
                timeout=aiohttp.ClientTimeout(total=60),
            ) as answer:
                payload = await answer.read()
                if answer.status >= 400:
                    raise self._failed(answer.status, payload)
                if not answer.content_type.endswith("json"):
                    return payload.decode("utf-8", "replace")
                return _decode(payload) if payload else None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(
                f"{method} {self._server}{path}: {error or type(error).__name__}"
            ) from error

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[list[tuple[str, Obj]]]:
        headers = await self._before()
        try:
            async with self._open().get(
                self._server + path, params=query, headers=headers, server_hostname=self._server_name
            ) as answer:
                if answer.status >= 400:
                    raise self._failed(answer.status, await answer.read())
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    batch = [_event(line) for line in lines if line]
                    if batch:
                        yield batch
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"watch {self._server}{path}: {error or type(error).__name__}") from error

    async def _before(self) -> dict[str, str]:
        """Wait for a turn; the headers that say who asks."""
        if self._throttle is not None:
            await self._throttle.wait()
        token = await self._tokens.current() if self._tokens is not None else ""
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _failed(self, code: int, payload: bytes) -> ApiError:
        if code == 401 and self._tokens is not None:
            self._tokens.refused()
        return _error(code, payload)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _event(line: bytes) -> tuple[str, Obj]:
    event = _decode(line)
    if event["type"] == "ERROR":
        raise ApiError.from_status(event["object"])
    return event["type"], event["object"]


def _error(code: int, payload: bytes) -> ApiError:
    try:
        status = _decode(payload)
    except msgspec.DecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return ApiError.from_status(status, code)
    return ApiError(code, "", payload.decode("utf-8", "replace").strip() or f"HTTP status {code}")
