"""gRPC calls onto handlers: the guard is asked first, and every call is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pilothouse.etcd.server.core import Core
from pilothouse.etcd.server.http2.call import Call, Requests, Routes, Send, Served, Streaming, Unary
from pilothouse.etcd.server.http2.connection import Limits
from pilothouse.etcd.server.http2.server import GrpcServer
from pilothouse.etcd.server.metrics import CallCounts
from pilothouse.etcd.server.options import GRPC_OVERHEAD_BYTES
from pilothouse.etcd.server.services import Bound


def make_server(core: Core, bound: Mapping[str, Bound]) -> GrpcServer:
    limits = Limits(message_bytes_max=core.options.request_bytes_max + GRPC_OVERHEAD_BYTES)
    return GrpcServer(_routes(core, bound), limits, CallCounts(core.metrics))


def _routes(core: Core, bound: Mapping[str, Bound]) -> Routes:
    return {
        path: Served(method, _guarded(core, method, handler)) for path, (method, handler) in bound.items()
    }


def _guarded(core: Core, method: Any, handler: Unary | Streaming) -> Unary | Streaming:
    """Streams of requests ask the guard for each of them themselves."""
    if method.request_streams:
        return handler
    if method.response_streams:
        return _guarded_stream(core, cast(Streaming, handler))
    return _guarded_unary(core, cast(Unary, handler))


def _guarded_unary(core: Core, handler: Unary) -> Unary:
    async def serve(request: Any, call: Call) -> Any:
        await core.guard.check(call, request)
        return await handler(request, call)

    return serve


def _guarded_stream(core: Core, handler: Streaming) -> Streaming:
    async def serve(request: Requests, send: Send, call: Call) -> None:
        await core.guard.check(call, cast(Any, request))
        await handler(request, send, call)

    return serve
