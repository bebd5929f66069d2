"""What a handler of a method sees, and which handler it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from google.protobuf.message import Message

from pilothouse.etcd.wire.methods import Method


class Call(Protocol):
    """One call of a method."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Request headers; names are lower case."""

    @property
    def peer_name(self) -> str:
        """The common name of the client's certificate, "" if it showed none."""

    async def send(self, message: Message) -> None:
        """One message of a streaming answer. Waits while the client does not read."""

    def requests(self) -> AsyncIterator[Any]:
        """The messages of a streaming request, until the client has said all."""


UnaryHandler = Callable[[Any, Call], Awaitable[Message]]
ServerStreamHandler = Callable[[Any, Call], Awaitable[None]]
StreamHandler = Callable[[Call], Awaitable[None]]
Handler = UnaryHandler | ServerStreamHandler | StreamHandler


class Served(NamedTuple):
    """A method and who answers it: `(request, call) -> response`; with a streaming response `(request, call)`, with
    a streaming request `(call)`, both answering by `call.send`."""

    method: Method
    handler: Handler


Routes = dict[str, Served]
"""By path."""


def routes(*tables: Mapping[Method, Handler]) -> Routes:
    return {method.path: Served(method, handler) for table in tables for method, handler in table.items()}


def timeout_s(text: str) -> float | None:
    """gRPC's `grpc-timeout` header (PROTOCOL-HTTP2.md); None for none, or one that nobody understands."""
    unit = _UNITS_S.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or len(text) > 9:
        return None
    return int(text[:-1]) * unit


_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
