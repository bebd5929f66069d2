"""A request's way through the API server, in reading order.

    request → request info → authentication → impersonation → priority and fairness → authorization → body → handler
      → answer, in protobuf for those who asked

Each step is one call below; a step refuses by raising ApiError, which becomes a Status here and nowhere else.
What a handler does with a resource is in `endpoints`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from pilothouse.api import errors
from pilothouse.api.cron import duration_error
from pilothouse.api.field import go_quote
from pilothouse.apiserver import request_info
from pilothouse.apiserver.authz.rbac import Decision
from pilothouse.apiserver.endpoints import render
from pilothouse.apiserver.fairness.level import Queue, Refused
from pilothouse.apiserver.fairness.traffic import Flow, Traffic
from pilothouse.apiserver.limits import check, is_long_running
from pilothouse.apiserver.metrics import RequestMetrics
from pilothouse.apiserver.request import Request, RequestInfo, Response, UserInfo
from pilothouse.kit.world import World

log = logging.getLogger(__name__)


class Authenticator(Protocol):
    async def authenticate(self, request: Request) -> UserInfo:
        """Who it is; raises 401."""


class Authorizer(Protocol):
    def authorize(self, user: UserInfo, info: RequestInfo) -> Decision: ...


Impersonate = Callable[[Request, UserInfo], UserInfo]
Handler = Callable[[Request], Awaitable[Response]]


class Pipeline:
    """`handle` never raises but for cancellation and bugs, and the latter answer 500."""

    def __init__(
        self,
        world: World,
        authenticator: Authenticator,
        impersonate: Impersonate,
        authorizer: Authorizer,
        traffic: Traffic,
        metrics: RequestMetrics,
        handler: Handler,
        finish: Callable[[Request, Response], Response],
        request_timeout_s: float = 60.0,
    ) -> None:
        self._world = world
        self._authenticator = authenticator
        self._impersonate = impersonate
        self._authorizer = authorizer
        self.traffic = traffic
        self._metrics = metrics
        self._handler = handler
        self._finish = finish
        self._request_timeout_s = request_timeout_s

    async def handle(self, request: Request) -> Response:
        started = self._world.clock.monotonic()
        try:
            response = await self._steps(request)
        except errors.ApiError as failure:
            response = render.error(failure, request)
        except Refused as refusal:
            response = _too_many(refusal)
        except Exception:
            log.exception("request failed", extra={"method": request.method, "path": request.path})
            response = render.error(errors.internal("an unexpected error; see the server's log"), request)
        self._metrics.observe(request, response.status, self._world.clock.monotonic() - started)
        return self._finish(request, response)

    async def _steps(self, request: Request) -> Response:
        request.info = request_info.parse(request.method, request.path, request.query)
        request.received_s = self._world.now()
        if "timeout" in request.query:
            _check_timeout(request)
        if request.user is None:
            request.user = await self._authenticator.authenticate(request)
        if _impersonates(request):
            request.user = self._impersonate(request, request.user)
        user = request.user
        flow = self.traffic.flow(request, user)
        request.flow = flow.uids
        places, level = flow.places, flow.level
        if level is None:
            check(places, request, user)
            places.running += 1
            try:
                return await self._decided(request, user)
            finally:
                places.running -= 1
        seats = self.traffic.seats(request, level) if flow.is_list else 1
        if not level.has_room(seats):
            return await self._in_turn(request, user, flow, seats)
        counts = flow.counts
        counts.dispatched += 1
        counts.executing += 1
        counts.seats += seats
        level.in_use += seats
        places.running += 1
        try:
            self._authorize(user, request.info)
            if _has_no_deadline(request):
                return await self._run(request)
            return await self._run_in_time(request)
        finally:
            places.running -= 1
            counts.executing -= 1
            counts.seats -= seats
            level.in_use -= seats
            if level.waiting:
                level.dispatch()

    async def _in_turn(self, request: Request, user: UserInfo, flow: Flow, seats: int) -> Response:
        """The same, once it is this request's turn."""
        level, counts = flow.level, flow.counts
        assert level is not None
        queue: Queue = await self.traffic.wait(flow, request, user, seats)
        began_s = self._world.clock.monotonic()
        counts.dispatched += 1
        counts.executing += 1
        counts.seats += seats
        flow.places.running += 1
        try:
            return await self._decided(request, user)
        finally:
            flow.places.running -= 1
            counts.executing -= 1
            counts.seats -= seats
            level.leave(seats, queue, self._world.clock.monotonic() - began_s)

    async def _decided(self, request: Request, user: UserInfo) -> Response:
        self._authorize(user, request.info)
        if _has_no_deadline(request):
            return await self._run(request)
        return await self._run_in_time(request)

    async def _run(self, request: Request) -> Response:
        if request.receive is not None:
            request.body = await request.receive()
        return await self._handler(request)

    async def _run_in_time(self, request: Request) -> Response:
        """504 when neither body nor answer is there in time (WithRequestDeadline, finisher.FinishRequest)."""
        try:
            async with asyncio.timeout(self._request_timeout_s) as deadline:
                return await self._run(request)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise errors.timeout(
                "request did not complete within requested timeout - context deadline exceeded"
            ) from None

    def _authorize(self, user: UserInfo, info: RequestInfo) -> None:
        decision = self._authorizer.authorize(user, info)
        if not decision.allowed:
            raise refusal(user, info, decision.reason)


def _too_many(refusal: Refused) -> Response:
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "Retry-After": str(refusal.retry_after_s),
    }
    return Response(429, b"Too many requests, please try again later.\n", headers)


def _check_timeout(request: Request) -> None:
    """400 for a `timeout` that is no duration (WithRequestDeadline); long-running requests have none."""
    problem = duration_error(request.param("timeout")) if request.param("timeout") else ""
    if problem and not is_long_running(request):
        raise errors.bad_request(f"invalid timeout specified in the request URL - {problem}")


def _has_no_deadline(request: Request) -> bool:
    """Long-running requests, and such as have nothing to wait for: reads come from memory, and a timer for each would
    cost a third of its way through the pipeline."""
    if request.receive is None and request.info.verb in ("get", "list"):
        return True
    return request.in_process or is_long_running(request)


def _impersonates(request: Request) -> bool:
    for name in request.headers:  # noqa: SIM110 - a generator costs more than the search
        if name.startswith("impersonate-"):
            return True
    return False


def refusal(user: UserInfo, info: RequestInfo, reason: str) -> errors.ApiError:
    """The 403 that upstream answers (k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go)."""
    why = f"User {go_quote(user.name)} cannot {info.verb} "
    if not info.is_resource:
        error = errors.forbidden("", "", "", f"{why}path {go_quote(info.path)}{_tail(reason)}")
        error.details = {}
        return error
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    why += f"resource {go_quote(resource)} in API group {go_quote(info.group)}"
    why += f" in the namespace {go_quote(info.namespace)}" if info.namespace else " at the cluster scope"
    return errors.forbidden(info.group, info.resource, info.name, why + _tail(reason))


def _tail(reason: str) -> str:
    return f": {reason}" if reason else ""
