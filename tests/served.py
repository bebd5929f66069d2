"""An API server in memory, without a port, for tests that ask it as clients would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry

from pilothouse.apiserver.request import Request, Response, UserInfo
from pilothouse.apiserver.server import Options
from pilothouse.components.api_server import ServedApi, Serving
from pilothouse.kit.world import World

ADMIN = UserInfo("admin", groups=("system:masters", "system:authenticated"))
ALICE = UserInfo("alice", groups=("dev", "system:authenticated"))


class Answer(NamedTuple):
    status: int
    body: Any

    @property
    def message(self) -> str:
        text: str = self.body["message"]
        return text


class Api:
    """Requests go the whole way through the pipeline, as if they came over the wire."""

    def __init__(self, world: World, options: Options) -> None:
        self._runner = asyncio.Runner()
        self.served = ServedApi(
            Serving(listen=False, server=options), world, CollectorRegistry(auto_describe=True)
        )
        self._runner.run(self.served.start())

    def close(self) -> None:
        self._runner.run(self.served.stop())
        self._runner.close()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: UserInfo | None = ADMIN,
        content_type: str = "application/json",
        peer_certificate: bytes | None = None,
        **headers: str,
    ) -> Answer:
        """`user` None leaves authentication to the headers and the certificate."""
        parts = urlsplit(path)
        request = Request(
            method,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            {"content-type": content_type, **{k.replace("_", "-"): v for k, v in headers.items()}},
            body if body is None or isinstance(body, bytes) else json.dumps(body).encode(),
            user,
            peer_certificate,
        )
        response = self.run(request)
        assert isinstance(response.body, bytes)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return Answer(response.status, json.loads(response.body) if is_json else response.body)

    def run(self, request: Request) -> Response:
        return self._runner.run(self.served.api.handle(request))


@contextmanager
def api(world: World | None = None, **options: Any) -> Iterator[Api]:
    made = Api(world or World(), Options(**options))
    try:
        yield made
    finally:
        made.close()
