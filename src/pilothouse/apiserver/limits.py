"""How many requests run at once (kube-apiserver --max-requests-inflight and --max-mutating-requests-inflight).

With API priority and fairness (`fairness`) the sum of the two is shared out, and here requests are only counted.
Without it, what comes beyond them is refused, but for long-running requests (watches, log follows, exec) and members of
system:masters, so that an overloaded server can still be mended.
"""

from __future__ import annotations

from pilothouse.api import errors
from pilothouse.apiserver.request import Request, RequestInfo, UserInfo

_MUTATING = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_LONG_RUNNING_SUBRESOURCES = frozenset(("attach", "exec", "proxy", "log", "portforward"))
_RETRY_AFTER_S = 1


def is_long_running(request: Request) -> bool:
    info = request.info
    return info.verb in ("watch", "proxy") or info.subresource in _LONG_RUNNING_SUBRESOURCES


def is_mutating(info: RequestInfo) -> bool:
    return info.verb in _MUTATING


class Places:
    """A number of requests that may run at once; 0 means no limit."""

    __slots__ = ("limit", "running")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.running = 0


class InFlight:
    """Two kinds of places, and unlimited ones for requests that do not count."""

    def __init__(self, read_only_max: int = 400, mutating_max: int = 200) -> None:
        self.read_only = Places(read_only_max)
        self.mutating = Places(mutating_max)
        self.long_running = Places(0)


def check(places: Places, request: Request, user: UserInfo) -> None:
    """429 when there is no place."""
    if places.limit and places.running >= places.limit and not _privileged(request, user):
        raise errors.too_many_requests("Too many requests, please try again later.", _RETRY_AFTER_S)


def _privileged(request: Request, user: UserInfo) -> bool:
    return request.in_process or "system:masters" in user.groups
