"""What a handler of a method sees, and which handler it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from google.protobuf.message import Message

from pilothouse.etcd.wire.errors import Code
from pilothouse.etcd.wire.methods import Method


class Call(Protocol):
    """One call of one client."""

    @property
    def method(self) -> str:
        """`/package.Service/Name`."""

    @property
    def size(self) -> int:
        """Bytes of the request on the wire; of a stream's requests 0."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Headers in lower case; `token` or `authorization` is what `etcdctl --user` sends."""

    @property
    def common_name(self) -> str:
        """Of the client's certificate, "" without one."""


Unary = Callable[[Any, Call], Awaitable[Message | bytes]]
"""`(request, call) -> response`, a message or its bytes; StoreErrors become gRPC's."""
Send = Callable[[Message | bytes], Awaitable[None]]
"""A message, or its bytes. Waits while the client does not read."""
Streaming = Callable[[Any, Send, Call], Awaitable[None]]
"""`(request or iterator of requests, send, call)`: a stream of answers, which ends when it returns."""
Requests = AsyncIterator[Any]


class Observer(Protocol):
    """Counts calls."""

    def started(self, method: Method) -> None: ...
    def done(self, method: Method, code: Code) -> None: ...


class Unobserved:
    """Nobody counts."""

    def started(self, method: Method) -> None:
        """Not counted."""

    def done(self, method: Method, code: Code) -> None:
        """Not counted."""


class Served(NamedTuple):
    """A method and who answers it."""

    method: Method
    handler: Unary | Streaming


Routes = Mapping[str, Served]
"""By path."""


def timeout_s(text: str) -> float | None:
    """gRPC's `grpc-timeout` header (PROTOCOL-HTTP2.md); None for none, or one that nobody understands."""
    unit = _UNITS_S.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or len(text) > 9:
        return None
    return int(text[:-1]) * unit


_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
