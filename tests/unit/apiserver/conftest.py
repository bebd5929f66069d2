"""A whole API server without a socket: requests go in at its front door, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from pilothouse.apiserver.request import Request, Response, UserInfo
from pilothouse.components.api_server import ServedApi, Serving
from pilothouse.kit.virtual_loop import VirtualLoop
from pilothouse.kit.world import simulated_world

ADMIN = UserInfo("admin", "admin", ("system:masters", "system:authenticated"))


@dataclass
class Answer:
    code: int
    body: Any
    """JSON decoded; text for anything else."""
    warnings: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        return str(self.body["message"])

    @property
    def causes(self) -> list[tuple[str, str]]:
        """(field, message) of an invalid object's causes."""
        return [(cause["field"], cause["message"]) for cause in self.body["details"]["causes"]]


class Api:
    def __init__(self, runner: asyncio.Runner, served: ServedApi) -> None:
        self._runner = runner
        self._served = served

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        user: UserInfo = ADMIN,
    ) -> Answer:
        """`body` is JSON to be, or bytes to be sent as they are."""
        path, _, text = path.partition("?")
        query: dict[str, list[str]] = {}
        for part in filter(None, text.split("&")):
            key, _, value = part.partition("=")
            query.setdefault(key, []).append(value)
        headers = {"content-type": content_type, "accept": accept, "user-agent": "test/1"}
        raw = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        request = Request(method, path, query, headers, raw, user)
        response = self._runner.run(self._answer(request))
        assert isinstance(response.body, bytes)
        try:
            content = msgspec.json.decode(response.body) if response.body else None
        except msgspec.DecodeError:
            content = response.body.decode()
        return Answer(response.status, content, request.warnings)

    async def _answer(self, request: Request) -> Response:
        return await self._served.api.handle(request)

    def apply(self, path: str, body: Any) -> Answer:
        return self("PATCH", path, body, content_type="application/apply-patch+yaml")

    def merge(self, path: str, body: Any) -> Answer:
        return self("PATCH", path, body, content_type="application/merge-patch+json")

    def json_patch(self, path: str, *operations: Any) -> Answer:
        return self("PATCH", path, list(operations), content_type="application/json-patch+json")


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    """Shared by the tests of a session: each uses names of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        served = ServedApi(Serving(listen=False), simulated_world(1), CollectorRegistry())
        runner.run(served.start())
        yield Api(runner, served)
        runner.run(served.stop())
