"""etcd's errors: message and gRPC code (api/v3rpc/rpctypes/error.go), to and from the exceptions of `contract`."""

from __future__ import annotations

from enum import IntEnum

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


class Code(IntEnum):
    """gRPC's status codes, as numbers: the server does without grpc."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_MESSAGES: dict[Code, tuple[str, ...]] = {
    Code.INVALID_ARGUMENT: (
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
    Code.OUT_OF_RANGE: (
        "mvcc: required revision has been compacted",
        "mvcc: required revision is a future revision",
        "too large lease TTL",
    ),
    Code.RESOURCE_EXHAUSTED: ("mvcc: database space exceeded", "too many requests"),
    Code.NOT_FOUND: ("requested lease not found", "member not found"),
    Code.FAILED_PRECONDITION: (
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
    Code.PERMISSION_DENIED: ("permission denied",),
    Code.UNAUTHENTICATED: ("invalid auth token",),
    Code.UNAVAILABLE: (
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
    Code.DATA_LOSS: ("corrupt cluster",),
    Code.CANCELLED: ("watch canceled",),
}
CODES = {f"etcdserver: {text}": code for code, texts in _MESSAGES.items() for text in texts}


class Refused(StoreError):
    """What etcd refuses and the contract has no exception for; `code` is the gRPC one."""

    def __init__(self, message: str, code: Code | None = None) -> None:
        super().__init__(message)
        self.code = code or CODES[message]


def code_of(error: StoreError) -> Code:
    """The gRPC code that says this error."""
    if isinstance(error, Refused):
        return error.code
    known = CODES.get(str(error))
    if known is not None:
        return known
    return Code.UNAVAILABLE if isinstance(error, StoreUnavailable) else Code.UNKNOWN


def go_name(code: Code) -> str:
    """InvalidArgument for INVALID_ARGUMENT; Go's exceptions are OK and Canceled."""
    if code in _GO_NAMES:
        return _GO_NAMES[code]
    return "".join(part.capitalize() for part in code.name.split("_"))


_GO_NAMES = {Code.OK: "OK", Code.CANCELLED: "Canceled"}


def error_of(code: int, message: str) -> StoreError:
    """The contract's exception for what a server said (`code`: of grpc.StatusCode it is `value[0]`). The compacted
    revision is not in the message: 0."""
    if message == str(Compacted(0)):
        return Compacted(0)
    for plain in (FutureRevision, LeaseNotFound, LeaseExists, StoreClosed, NoSpace):
        if message == str(plain()):
            return plain()
    if code == Code.INVALID_ARGUMENT:
        return InvalidRequest(message)
    if code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED):
        return StoreUnavailable(message)
    return Refused(message, Code(code))
