"""Plain HTTPS to an API server, for what clients' libraries hide."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPSConnection, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

Obj = dict[str, Any]
_JSON = "application/json"


class Refused(Exception):
    """An answer that says no: the Status."""

    def __init__(self, status: Obj) -> None:
        super().__init__(status.get("message", ""))
        self.code: int = status["code"]
        self.reason: str = status.get("reason", "")


class Door:
    """Acts as the user of `token`."""

    def __init__(self, url: str, token: str = "admintoken") -> None:
        self._address = urlsplit(url).netloc
        self._headers = {"Authorization": f"Bearer {token}"}
        self._context = ssl._create_unverified_context()
        self._kept = threading.local()

    def ask(
        self, method: str, path: str, body: Any = None, *, content_type: str = _JSON, refused: bool = False
    ) -> Obj:
        """A JSON answer. Raises Refused for a Status that says no, or gives it back (`refused`)."""
        sent = None if body is None else json.dumps(body).encode()
        status, _, raw = self.raw(method, path, sent, {"Content-Type": content_type})
        answer: Obj = json.loads(raw)
        if status >= 400 and not refused:
            raise Refused(answer)
        return answer

    def raw(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of an answer. A thread keeps its connection as long as the server does."""
        kept = getattr(self._kept, "connection", None)
        if kept is not None:
            try:
                return self._answered(kept, method, path, body, headers)
            except (RemoteDisconnected, ConnectionError):
                kept.close()
        self._kept.connection = self._connection()
        return self._answered(self._kept.connection, method, path, body, headers)

    def _answered(
        self,
        connection: HTTPSConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection.request(method, path, body, {**self._headers, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    @contextmanager
    def watching(self, path: str) -> Iterator[Iterator[Obj]]:
        """The events of a watch, until the server or the block ends it."""
        connection = self._connection()
        try:
            connection.request("GET", path, None, self._headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise Refused(json.loads(answer.read()))
            yield (json.loads(line) for line in answer)
        finally:
            if connection.sock is not None:
                connection.sock.close()
            connection.close()

    def _connection(self) -> HTTPSConnection:
        return HTTPSConnection(self._address, context=self._context, timeout=30)
