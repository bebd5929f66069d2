"""etcd's errors: message and gRPC code (api/v3rpc/rpctypes/error.go), to and from the exceptions of `contract`."""

from __future__ import annotations

import grpc

from pilothouse.etcd.contract import (
    Compacted,
    FutureRevision,
    InvalidRequest,
    LeaseExists,
    LeaseNotFound,
    NoSpace,
    StoreClosed,
    StoreError,
    StoreUnavailable,
)

_Code = grpc.StatusCode

_MESSAGES: dict[grpc.StatusCode, tuple[str, ...]] = {
    _Code.INVALID_ARGUMENT: (
        "key is not provided",
        "key not found",
        "value is provided",
        "lease is provided",
        "too many operations in txn request",
        "duplicate key given in txn request",
        "invalid sort option",
        "request is too large",
        "given member URLs are invalid",
        "user name is empty",
        "role name is empty",
        "authentication failed, invalid user ID or password",
        "permission not given",
        "invalid auth management",
        "revision of auth store is old",
        "wrong version format",
    ),
    _Code.OUT_OF_RANGE: (
        "mvcc: required revision has been compacted",
        "mvcc: required revision is a future revision",
        "too large lease TTL",
    ),
    _Code.RESOURCE_EXHAUSTED: ("mvcc: database space exceeded", "too many requests"),
    _Code.NOT_FOUND: ("requested lease not found", "member not found"),
    _Code.FAILED_PRECONDITION: (
        "lease already exists",
        "member ID already exist",
        "Peer URLs already exists",
        "re-configuration failed due to not enough started members",
        "can only promote a learner member",
        "can only promote a learner member which is in sync with leader",
        "too many learner members in cluster",
        "root user does not exist",
        "root user does not have root role",
        "user name already exists",
        "user name not found",
        "role name already exists",
        "role name not found",
        "role is not granted to the user",
        "permission is not granted to the role",
        "authentication is not enabled",
        "not leader",
        "bad leader transferee",
    ),
    _Code.PERMISSION_DENIED: ("permission denied",),
    _Code.UNAUTHENTICATED: ("invalid auth token",),
    _Code.UNAVAILABLE: (
        "no leader",
        "leader changed",
        "server stopped",
        "request timed out",
        "request timed out, possibly due to previous leader failure",
        "request timed out, possibly due to connection lost",
        "unhealthy cluster",
        "rpc not supported for learner",
        "not capable",
    ),
    _Code.DATA_LOSS: ("corrupt cluster",),
    _Code.CANCELLED: ("watch canceled",),
}
CODES = {f"etcdserver: {text}": code for code, texts in _MESSAGES.items() for text in texts}


class Refused(StoreError):
    """What etcd refuses and the contract has no exception for; `code` is the gRPC one."""

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code or CODES[message]


def code_of(error: StoreError) -> grpc.StatusCode:
    """The gRPC code that says this error."""
    if isinstance(error, Refused):
        return error.code
    known = CODES.get(str(error))
    if known is not None:
        return known
    return _Code.UNAVAILABLE if isinstance(error, StoreUnavailable) else _Code.UNKNOWN


def go_name(code: grpc.StatusCode) -> str:
    """InvalidArgument for INVALID_ARGUMENT; Go's one exception is Canceled."""
    if code is grpc.StatusCode.CANCELLED:
        return "Canceled"
    return "".join(part.capitalize() for part in code.name.split("_"))


def error_of(code: grpc.StatusCode, message: str) -> StoreError:
    """The contract's exception for what a server said. The compacted revision is not in the message: 0."""
    if message == str(Compacted(0)):
        return Compacted(0)
    for plain in (FutureRevision, LeaseNotFound, LeaseExists, StoreClosed, NoSpace):
        if message == str(plain()):
            return plain()
    if code is _Code.INVALID_ARGUMENT:
        return InvalidRequest(message)
    if code in (_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.RESOURCE_EXHAUSTED):
        return StoreUnavailable(message)
    return Refused(message, code)
