"""The in-process transport: the same pipeline, the same identities, no socket.

Satisfies `client.transport.Transport` without knowing it: this room never imports the client's. A body goes
to the server as it is and belongs to it; answers are the server's own shared dicts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from pilothouse.api.errors import ApiError
from pilothouse.api.types import Obj
from pilothouse.apiserver.request import Request, Response, UserInfo

_decode = msgspec.json.Decoder().decode


class InProcessTransport:
    """Requests as `user`; `agent` names the component (the field manager of its writes)."""

    def __init__(self, handle: Callable[[Request], Awaitable[Response]], user: UserInfo, agent: str) -> None:
        self._handle = handle
        self._user = user
        self._agent = agent

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content_type: str
    ) -> Request:
        headers = {"user-agent": self._agent, "content-type": content_type}
        values = {k: [v] for k, v in query.items()} if query else {}
        return Request(method, path, values, headers, body, self._user, remote="in-process", in_process=True)

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        response = await self._handle(self._request(method, path, query, body, content_type))
        if response.status >= 400:
            raise _failure(response)
        if response.obj is not None:
            return response.obj
        return _content(response)

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[list[tuple[str, Obj]]]:
        response = await self._handle(self._request("GET", path, query, None, "application/json"))
        if response.status >= 400:
            raise _failure(response)
        assert response.stream is not None
        async for batch in response.stream:
            yield batch

    async def close(self) -> None:
        """Nothing to close."""


def _content(response: Response) -> Any:
    assert isinstance(response.body, bytes)
    if not response.body:
        return None
    if response.headers.get("Content-Type", "").startswith("application/json"):
        return _decode(response.body)
    return response.body.decode()


def _failure(response: Response) -> ApiError:
    assert isinstance(response.body, bytes)
    if response.headers.get("Content-Type", "").startswith("application/json"):
        return ApiError.from_status(_decode(response.body), response.status)
    return ApiError(response.status, "", response.body.decode("utf-8", "replace"))
