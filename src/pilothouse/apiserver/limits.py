"""How many requests run at once (kube-apiserver --max-requests-inflight and --max-mutating-requests-inflight).

Not API priority and fairness: FlowSchemas are stored and served, but requests are not yet queued by them.
Long-running requests (watches, log follows, exec) do not count, nor do members of system:masters, so that an
overloaded server can still be mended.
"""

from __future__ import annotations

from pilothouse.api import errors
from pilothouse.apiserver.request import Request

_MUTATING = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_LONG_RUNNING_SUBRESOURCES = frozenset(("attach", "exec", "proxy", "log", "portforward"))
_RETRY_AFTER_S = 1


def is_long_running(request: Request) -> bool:
    info = request.info
    return info.verb in ("watch", "proxy") or info.subresource in _LONG_RUNNING_SUBRESOURCES


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

    def take(self, request: Request) -> Places:
        """Take a place, which the caller gives back (`running -= 1`) when the request has ended; 429 when
        there is none."""
        if is_long_running(request):
            places = self.long_running
        else:
            places = self.mutating if request.info.verb in _MUTATING else self.read_only
            if places.limit and places.running >= places.limit and not _privileged(request):
                raise errors.too_many_requests("Too many requests, please try again later.", _RETRY_AFTER_S)
        places.running += 1
        return places


def _privileged(request: Request) -> bool:
    return request.in_process or (request.user is not None and "system:masters" in request.user.groups)
