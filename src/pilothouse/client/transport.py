"""The way from a client to an API server: what both transports promise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from pilothouse.api.types import Obj


class Transport(Protocol):
    """One identity at one API server. Failures raise `api.errors.ApiError`; a connection that cannot be made
    or is lost raises ConnectionError."""

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        """The decoded answer. A body dict belongs to the transport from then on."""

    def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[list[tuple[str, Obj]]]:
        """A watch: batches of (type, object) as they come."""

    async def close(self) -> None: ...
