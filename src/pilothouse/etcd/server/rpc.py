"""gRPC calls onto handlers: parsing, the guard, errors as statuses, and counting, once for all methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError, Message

from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.server.core import Core, Streaming, Unary
from pilothouse.etcd.server.metrics import CallMetrics
from pilothouse.etcd.server.options import GRPC_OVERHEAD_BYTES, ServerOptions
from pilothouse.etcd.server.services import Bound
from pilothouse.etcd.wire.errors import Refused, code_of

_KINDS = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}
Context = grpc.aio.ServicerContext[Any, Any]


class RpcCall:
    """See `core.Call`."""

    def __init__(self, method: str, size: int, context: Context) -> None:
        self.method = method
        self.size = size
        self._context = context

    @cached_property
    def metadata(self) -> Mapping[str, str]:
        return {
            name: value.decode(errors="replace") if isinstance(value, bytes) else value
            for name, value in self._context.invocation_metadata() or ()
        }

    @cached_property
    def common_name(self) -> str:
        names = self._context.auth_context().get("x509_common_name", ())
        return next((bytes(name).decode(errors="replace") for name in names), "")


def make_server(core: Core, bound: Mapping[str, Bound]) -> grpc.aio.Server:
    """A server that listens nowhere yet."""
    server = grpc.aio.server(options=_options(core.options))
    by_service: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for path, (method, handler) in bound.items():
        _, service, name = path.split("/")
        kind = _KINDS[method.request_streams, method.response_streams]
        counts = CallMetrics(core.metrics, service, name, kind)
        by_service.setdefault(service, {})[name] = _adapt(core, Bound(method, handler), counts)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, methods) for service, methods in by_service.items()]
    )
    return server


def _options(options: ServerOptions) -> list[tuple[str, Any]]:
    milliseconds = {
        "grpc.http2.min_recv_ping_interval_without_data_ms": options.keepalive_min_time_s,
        "grpc.http2.min_ping_interval_without_data_ms": options.keepalive_min_time_s,
        "grpc.keepalive_time_ms": options.keepalive_interval_s,
        "grpc.keepalive_timeout_ms": options.keepalive_timeout_s,
    }
    return [
        ("grpc.max_receive_message_length", options.request_bytes_max + GRPC_OVERHEAD_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
        ("grpc.http2.max_pings_without_data", 0),
        *((name, int(seconds * 1000)) for name, seconds in milliseconds.items() if seconds > 0),
    ]


def _adapt(core: Core, bound: Bound, counts: CallMetrics) -> grpc.RpcMethodHandler[Any, Any]:
    """Messages are parsed here, not by grpc: a handler learns the size on the wire, and a broken one is told."""
    method, handler = bound
    if method.request_streams:
        return grpc.stream_stream_rpc_method_handler(_bidirectional(core, bound, counts))
    if method.response_streams:
        return grpc.unary_stream_rpc_method_handler(_server_stream(core, bound, counts))
    return grpc.unary_unary_rpc_method_handler(_unary(core, cast(Unary, handler), bound, counts))


def _unary(core: Core, handler: Unary, bound: Bound, counts: CallMetrics) -> Any:
    path = bound.method.path
    parse = bound.method.request.FromString

    async def serve(data: bytes, context: Context) -> bytes:
        counts.started.inc()
        call = RpcCall(path, len(data), context)
        try:
            request = _parsed(parse, data)
            await core.guard.check(call, request)
            response = await handler(request, call)
        except StoreError as error:
            await _refuse(context, error, counts)
            raise
        counts.done("OK")
        return response.SerializeToString()

    return serve


def _server_stream(core: Core, bound: Bound, counts: CallMetrics) -> Any:
    handler = cast(Streaming, bound.handler)
    parse = bound.method.request.FromString

    async def serve(data: bytes, context: Context) -> None:
        counts.started.inc()
        call = RpcCall(bound.method.path, len(data), context)
        try:
            request = _parsed(parse, data)
            await core.guard.check(call, request)
            await handler(request, _sender(context), call)
        except StoreError as error:
            await _refuse(context, error, counts)
        counts.done("OK")

    return serve


def _bidirectional(core: Core, bound: Bound, counts: CallMetrics) -> Any:
    handler = cast(Streaming, bound.handler)
    parse = bound.method.request.FromString

    async def requests(source: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for data in source:
            yield _parsed(parse, data)

    async def serve(source: AsyncIterator[bytes], context: Context) -> None:
        counts.started.inc()
        try:
            await handler(requests(source), _sender(context), RpcCall(bound.method.path, 0, context))
        except StoreError as error:
            await _refuse(context, error, counts)
        counts.done("OK")

    return serve


def _sender(context: Context) -> Any:
    async def send(message: Message | bytes) -> None:
        await context.write(message if isinstance(message, bytes) else message.SerializeToString())

    return send


def _parsed(parse: Any, data: bytes) -> Any:
    try:
        return parse(data)
    except DecodeError as error:
        raise Refused(f"grpc: error unmarshalling request: {error}", grpc.StatusCode.INTERNAL) from error


async def _refuse(context: Context, error: StoreError, counts: CallMetrics) -> None:
    """Ends the call: `abort` raises."""
    code = code_of(error)
    counts.done(go_name(code))
    await context.abort(code, str(error))


def go_name(code: grpc.StatusCode) -> str:
    """InvalidArgument for INVALID_ARGUMENT; Go's one exception is Canceled."""
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(part.capitalize() for part in code.name.split("_"))
