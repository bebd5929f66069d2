"""What a failed call means: ask again, somewhere else, or tell the caller, and what to tell. Pure.

The policy is that of etcd's own client (client/v3/retry.go): what may be repeated is repeated while members are
unavailable; a write only when it certainly was not taken. A write of which nothing is certain ends as
`OutcomeUnknown`. One refinement: a member that refuses *before* it takes a request ("no leader" to a caller that
requires one, a learner) has certainly not taken it.
"""

from __future__ import annotations

from typing import NamedTuple

import grpc

from pilothouse.etcd.contract import OutcomeUnknown, StoreError, StoreUnavailable
from pilothouse.etcd.wire.errors import error_of

_Code = grpc.StatusCode

_REFUSED_UNSEEN = frozenset(
    {
        "etcdserver: no leader",
        "etcdserver: rpc not supported for learner",
        # A member change, before all members have been connected for five seconds (etcdserver/server.go).
        "etcdserver: unhealthy cluster",
    }
)
_NEW_TOKEN = frozenset(
    {
        "etcdserver: invalid auth token",
        "etcdserver: revision of auth store is old",
        "etcdserver: user name is empty",
    }
)
_NEVER_SENT = ("failed to connect to", "connections to all backends failing", "DNS resolution failed")
"""How gRPC's core begins its complaint when there was no connection to send on."""

_UNANSWERED = frozenset({_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.CANCELLED, _Code.INTERNAL})
"""Without a word of etcd itself: the connection or the time ended. INTERNAL: the stream was reset."""
_UNCERTAIN_WORDS = (
    "context deadline exceeded",
    "context canceled",
    "raft proposal dropped",
    "Stream removed",
)
"""Errors of unknown code with which a server, or gRPC, gives up on a request on its way."""


class Verdict(NamedTuple):
    error: StoreError
    again: bool
    """The call may be repeated."""
    leave: bool
    """The member is not to be asked for a while."""
    new_token: bool = False


class Failure(NamedTuple):
    """How a call ended; `sent` is False when it certainly never left."""

    code: grpc.StatusCode
    message: str
    sent: bool = True


def judge(failure: Failure, *, repeatable: bool) -> Verdict:
    code, message, sent = failure
    if message in _NEW_TOKEN:
        return Verdict(error_of(code, message), again=True, leave=False, new_token=True)
    if not sent or message in _REFUSED_UNSEEN or _never_sent(code, message):
        return Verdict(StoreUnavailable(message), again=True, leave=True)
    if _is_uncertain(code, message):
        if repeatable:
            return Verdict(StoreUnavailable(message), again=True, leave=True)
        return Verdict(OutcomeUnknown(message), again=False, leave=True)
    return Verdict(error_of(code, message), again=False, leave=False)


def _never_sent(code: grpc.StatusCode, message: str) -> bool:
    return code is _Code.UNAVAILABLE and message.startswith(_NEVER_SENT)


def _is_uncertain(code: grpc.StatusCode, message: str) -> bool:
    if code in _UNANSWERED:
        return True
    return code is _Code.UNKNOWN and any(words in message for words in _UNCERTAIN_WORDS)
