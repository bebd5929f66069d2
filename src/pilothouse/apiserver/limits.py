"""How many requests run at once (kube-apiserver --max-requests-inflight and --max-mutating-requests-inflight).

Not API priority and fairness: FlowSchemas are stored and served, but requests are not yet queued by them.
Long-running requests (watches, log follows, exec) do not count, nor do members of system:masters, so that an
overloaded server can still be mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pilothouse.api import errors
from pilothouse.apiserver.request import Request

_MUTATING = frozenset(("create", "update", "patch", "delete", "deletecollection"))
_LONG_RUNNING_SUBRESOURCES = frozenset(("attach", "exec", "proxy", "log", "portforward"))
_RETRY_AFTER_S = 1


def is_long_running(request: Request) -> bool:
    info = request.info
    return info.verb in ("watch", "proxy") or info.subresource in _LONG_RUNNING_SUBRESOURCES


class InFlight:
    """Two counters with a limit each; 0 means no limit."""

    def __init__(self, read_only_max: int = 400, mutating_max: int = 200) -> None:
        self._max = {False: read_only_max, True: mutating_max}
        self.running = {False: 0, True: 0}

    @contextmanager
    def place(self, request: Request) -> Iterator[None]:
        """Hold a place while the request runs; 429 when there is none."""
        if is_long_running(request):
            yield
            return
        mutating = request.info.verb in _MUTATING
        limit = self._max[mutating]
        privileged = request.in_process or (
            request.user is not None and "system:masters" in request.user.groups
        )
        if limit and self.running[mutating] >= limit and not privileged:
            raise errors.too_many_requests("Too many requests, please try again later.", _RETRY_AFTER_S)
        self.running[mutating] += 1
        try:
            yield
        finally:
            self.running[mutating] -= 1
