"""The JSON gateway: `POST /v3/kv/put` and so on, onto the same handlers as gRPC.

Messages as JSON (protobuf's mapping with the fields' own names: bytes in base64, 64-bit numbers as strings, nothing
that has its default), as https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/ tells. A stream is a line of
{"result": …} for each answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, cast

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import Message

from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.server.core import Core, Streaming, Unary
from pilothouse.etcd.server.services import Bound
from pilothouse.etcd.wire.errors import Code, code_of

_KV, _WATCH, _LEASE = "/etcdserverpb.KV/", "/etcdserverpb.Watch/", "/etcdserverpb.Lease/"
_CLUSTER, _MAINTENANCE, _AUTH = "/etcdserverpb.Cluster/", "/etcdserverpb.Maintenance/", "/etcdserverpb.Auth/"
_LOCK, _ELECTION = "/v3lockpb.Lock/", "/v3electionpb.Election/"

PATHS = {
    "/v3/kv/range": f"{_KV}Range",
    "/v3/kv/put": f"{_KV}Put",
    "/v3/kv/deleterange": f"{_KV}DeleteRange",
    "/v3/kv/txn": f"{_KV}Txn",
    "/v3/kv/compaction": f"{_KV}Compact",
    "/v3/watch": f"{_WATCH}Watch",
    "/v3/lease/grant": f"{_LEASE}LeaseGrant",
    "/v3/lease/revoke": f"{_LEASE}LeaseRevoke",
    "/v3/kv/lease/revoke": f"{_LEASE}LeaseRevoke",
    "/v3/lease/keepalive": f"{_LEASE}LeaseKeepAlive",
    "/v3/lease/timetolive": f"{_LEASE}LeaseTimeToLive",
    "/v3/kv/lease/timetolive": f"{_LEASE}LeaseTimeToLive",
    "/v3/lease/leases": f"{_LEASE}LeaseLeases",
    "/v3/kv/lease/leases": f"{_LEASE}LeaseLeases",
    "/v3/cluster/member/add": f"{_CLUSTER}MemberAdd",
    "/v3/cluster/member/remove": f"{_CLUSTER}MemberRemove",
    "/v3/cluster/member/update": f"{_CLUSTER}MemberUpdate",
    "/v3/cluster/member/list": f"{_CLUSTER}MemberList",
    "/v3/cluster/member/promote": f"{_CLUSTER}MemberPromote",
    "/v3/maintenance/alarm": f"{_MAINTENANCE}Alarm",
    "/v3/maintenance/status": f"{_MAINTENANCE}Status",
    "/v3/maintenance/defragment": f"{_MAINTENANCE}Defragment",
    "/v3/maintenance/hash": f"{_MAINTENANCE}HashKV",
    "/v3/maintenance/snapshot": f"{_MAINTENANCE}Snapshot",
    "/v3/maintenance/transfer-leadership": f"{_MAINTENANCE}MoveLeader",
    "/v3/maintenance/downgrade": f"{_MAINTENANCE}Downgrade",
    "/v3/auth/enable": f"{_AUTH}AuthEnable",
    "/v3/auth/disable": f"{_AUTH}AuthDisable",
    "/v3/auth/status": f"{_AUTH}AuthStatus",
    "/v3/auth/authenticate": f"{_AUTH}Authenticate",
    "/v3/auth/user/add": f"{_AUTH}UserAdd",
    "/v3/auth/user/get": f"{_AUTH}UserGet",
    "/v3/auth/user/list": f"{_AUTH}UserList",
    "/v3/auth/user/delete": f"{_AUTH}UserDelete",
    "/v3/auth/user/changepw": f"{_AUTH}UserChangePassword",
    "/v3/auth/user/grant": f"{_AUTH}UserGrantRole",
    "/v3/auth/user/revoke": f"{_AUTH}UserRevokeRole",
    "/v3/auth/role/add": f"{_AUTH}RoleAdd",
    "/v3/auth/role/get": f"{_AUTH}RoleGet",
    "/v3/auth/role/list": f"{_AUTH}RoleList",
    "/v3/auth/role/delete": f"{_AUTH}RoleDelete",
    "/v3/auth/role/grant": f"{_AUTH}RoleGrantPermission",
    "/v3/auth/role/revoke": f"{_AUTH}RoleRevokePermission",
    "/v3/lock/lock": f"{_LOCK}Lock",
    "/v3/lock/unlock": f"{_LOCK}Unlock",
    "/v3/election/campaign": f"{_ELECTION}Campaign",
    "/v3/election/proclaim": f"{_ELECTION}Proclaim",
    "/v3/election/leader": f"{_ELECTION}Leader",
    "/v3/election/observe": f"{_ELECTION}Observe",
    "/v3/election/resign": f"{_ELECTION}Resign",
}

_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.UNAUTHENTICATED: 401,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
}
"""HTTP's code for gRPC's (grpc-gateway runtime/errors.go); 500 for others."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpCall:
    """See `core.Call`. A client's certificate has no say here, as in etcd: tokens have."""

    common_name = ""

    def __init__(self, method: str, size: int, request: web.Request) -> None:
        self.method = method
        self.size = size
        self.metadata: Mapping[str, str] = {
            name.lower().removeprefix("grpc-metadata-"): value for name, value in request.headers.items()
        }


class Gateway:
    def __init__(self, core: Core, bound: Mapping[str, Bound]) -> None:
        self._core = core
        self._bound = bound

    def routes(self) -> Iterator[tuple[str, Handler]]:
        for path, method in PATHS.items():
            if method in self._bound:
                yield path, self._adapt(self._bound[method])

    def _adapt(self, bound: Bound) -> Handler:
        if bound.method.request_streams or bound.method.response_streams:
            return self._stream(bound)
        return self._unary(bound)

    def _unary(self, bound: Bound) -> Handler:
        handler = cast(Unary, bound.handler)

        async def serve(http: web.Request) -> web.StreamResponse:
            try:
                request = next(_messages(bound, await http.read()))
                call = HttpCall(bound.method.path, request.ByteSize(), http)
                await self._core.guard.check(call, request)
                answer = await handler(request, call)
                if isinstance(answer, bytes):
                    answer = bound.method.response.FromString(answer)
                return web.json_response(_as_json(answer), dumps=_dumps)
            except _Malformed as error:
                return _refusal(Code.INVALID_ARGUMENT, str(error))
            except StoreError as error:
                return _refusal(code_of(error), str(error))

        return serve

    def _stream(self, bound: Bound) -> Handler:
        handler = cast(Streaming, bound.handler)

        async def serve(http: web.Request) -> web.StreamResponse:
            try:
                messages = list(_messages(bound, await http.read()))
            except _Malformed as error:
                return _refusal(Code.INVALID_ARGUMENT, str(error))
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(http)

            async def send(message: Message | bytes) -> None:
                if isinstance(message, bytes):
                    message = bound.method.response.FromString(message)
                await response.write(_dumps({"result": _as_json(message)}).encode() + b"\n")

            call = HttpCall(bound.method.path, messages[0].ByteSize(), http)
            try:
                if bound.method.request_streams:
                    await handler(_each(messages), send, call)
                else:
                    await self._core.guard.check(call, messages[0])
                    await handler(messages[0], send, call)
            except StoreError as error:
                code, text = code_of(error), str(error)
                body = {"grpc_code": int(code), "http_code": _STATUS.get(code, 500), "message": text}
                await response.write(_dumps({"error": body}).encode() + b"\n")
            await response.write_eof()
            return response

        return serve


class _Malformed(ValueError):
    """A body that is no message."""


def _messages(bound: Bound, body: bytes) -> Iterator[Any]:
    """The JSON values of a body, one after the other; an empty body is an empty message."""
    decoder = json.JSONDecoder()
    try:
        text = body.decode().strip() or "{}"
        at = 0
        while at < len(text):
            value, at = decoder.raw_decode(text, at)
            if not isinstance(value, dict):
                raise _Malformed("a message is a JSON object")
            yield json_format.ParseDict(value, bound.method.request(), ignore_unknown_fields=True)
            at = _behind_spaces(text, at)
    except _UNREADABLE as error:
        raise _Malformed(str(error)) from error


_UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError, json_format.ParseError)
"""What the two parsers raise for a text that is no JSON, nests too deep, or has another type in a field."""
_SPACES = re.compile(r"\s*")


def _behind_spaces(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return at if found is None else found.end()


async def _each(messages: list[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def _as_json(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _refusal(code: Code, text: str) -> web.Response:
    number = int(code)
    body = {"error": text, "code": number, "message": text}
    return web.json_response(body, status=_STATUS.get(code, 500), dumps=_dumps)
