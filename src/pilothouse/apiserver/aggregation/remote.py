"""The API services of others, once there are any: their proxies, whether they can be used, what they serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.resources import ENDPOINT_SLICES, SERVICES, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.aggregation import availability
from pilothouse.apiserver.aggregation.availability import Available
from pilothouse.apiserver.aggregation.connection import Connections, Target
from pilothouse.apiserver.aggregation.documents import AGGREGATOR, Fetcher
from pilothouse.apiserver.aggregation.proxy import Proxy
from pilothouse.apiserver.aggregation.services import SERVICE_NAME, Resolver, Unreachable, reference
from pilothouse.apiserver.customresources.registration import API_SERVICES
from pilothouse.apiserver.endpoints.discovery import Remote
from pilothouse.apiserver.endpoints.openapi.extensions import Extension
from pilothouse.kit.certificates import KeyPair
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.work_queue import ExponentialLimiter, RateLimitedQueue, work

if TYPE_CHECKING:
    from pilothouse.apiserver.server import ApiServer

log = logging.getLogger(__name__)

_RESYNC_S = 30.0
_REFRESH_S = 60.0
_BACKOFF_S = (0.005, 30.0)
_ATTEMPTS = 5
_CHECK_TIMEOUT_S = 5.0
_WORKERS = 5
_MALFORMED = (KeyError, TypeError, AttributeError, ValueError)
"""What reading a document raises that has another form than it should."""
_WATCH_S = 3600.0
_RETRY_S = 1.0


class RemoteServices:
    """Of one server, by the names of their APIServices."""

    def __init__(self, server: ApiServer, certificate: KeyPair | None) -> None:
        self._server = server
        self._lister = server.lister
        self._world = server.world
        resolver = Resolver(server.lister, server.world.random, self._is_simulated)
        self._connections = Connections(resolver, certificate)
        self._fetcher = Fetcher(self._connections)
        self._known: dict[str, Obj] = {}
        self._resources: dict[str, list[Obj]] = {}
        """What discovery said last."""
        self._checks: RateLimitedQueue[str] = RateLimitedQueue(
            "AvailableConditionController", server.world, limiter=ExponentialLimiter(*_BACKOFF_S)
        )
        self._refreshes: RateLimitedQueue[str] = RateLimitedQueue("discovery-manager", server.world)
        self._tasks = Tasks("api services")

    def start(self) -> None:
        self._tasks.start(
            "availability", work(self._checks, self._check, workers=_WORKERS, name="availability")
        )
        self._tasks.start("documents", work(self._refreshes, self._refresh, workers=2, name="documents"))
        self._tasks.start("services", self._follow(SERVICES))
        self._tasks.start("endpoints", self._follow(ENDPOINT_SLICES))

    async def stop(self) -> None:
        await self._tasks.stop()
        await self._connections.close()

    def settle(self, api_services: Iterable[Obj]) -> None:
        """These are all that name a service now."""
        present = {obj["metadata"]["name"]: obj for obj in api_services}
        for name in [n for n in self._known if n not in present]:
            self._remove(name)
        for name, obj in present.items():
            known = self._known.get(name)
            if known is None or known["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                self._put(name, obj)

    def _put(self, name: str, obj: Obj) -> None:
        self._known[name] = obj
        target, (group, version) = _target(obj), _group_version(obj)
        proxy = Proxy(self._connections, target, obj)
        self._server.router.add_remote(group, version, proxy.handle)
        self._tell(name, obj, is_stale=not availability.is_available(obj) or name not in self._resources)
        self._checks.add(name)
        self._refreshes.add(name)

    def _remove(self, name: str) -> None:
        group, version = _group_version(self._known.pop(name))
        self._resources.pop(name, None)
        self._server.router.remove_remote(group, version)
        self._server.discovery.remove_remote(group, version)
        self._server.openapi.set_extension(group, version, None)

    def _tell(self, name: str, obj: Obj, *, is_stale: bool) -> None:
        spec = obj["spec"]
        priorities = spec.get("groupPriorityMinimum", 0), spec.get("versionPriority", 0)
        remote = Remote(*priorities, self._resources.get(name), is_stale)
        self._server.discovery.set_remote(*_group_version(obj), remote)

    def _is_simulated(self, pod: Obj) -> bool:
        kubelets = self._server.kubelets
        return kubelets is not None and kubelets.reaches(pod["spec"].get("nodeName", ""))

    async def _follow(self, resource: Resource) -> None:
        """Look again at API services whose service changed, or what is behind it."""
        scope = self._server.router.scope(resource.group, resource.version, resource.plural)
        assert scope is not None
        while True:
            try:
                watcher = await scope.rest.store.watch()
                try:
                    while (batch := await watcher.next(_WATCH_S)) is not None:
                        self._changed(
                            {_service_of(c.item.obj, resource) for c in batch if c.item is not None}
                        )
                finally:
                    watcher.close()
            except errors.ApiError as error:
                log.warning("the watch of %s broke off: %s; trying again", resource.plural, error)
            await self._world.clock.sleep(_RETRY_S)

    def _changed(self, services: set[tuple[str, str]]) -> None:
        for name, obj in self._known.items():
            service = obj["spec"]["service"]
            if (service["namespace"], service["name"]) in services:
                self._checks.add(name)

    # -- availability -----------------------------------------------------------------------------------

    async def _check(self, name: str) -> None:
        obj = self._lister.get(API_SERVICES, name)
        if obj is None or obj["spec"].get("service") is None:
            self._checks.forget(name)
            return
        found = await self._availability(obj)
        changed = availability.with_condition(obj, found, self._world.timestamp())
        try:
            if changed is not None:
                await self._server.objects.update_status(API_SERVICES, changed)
        except errors.ApiError as error:
            log.info("the status of API service %s was not written: %s", name, error)
            self._checks.add_rate_limited(name)
            return
        if found.reason == "FailedDiscoveryCheck":
            self._checks.add_rate_limited(name)
            return
        self._checks.forget(name)
        self._checks.add_after(name, _RESYNC_S)

    async def _availability(self, obj: Obj) -> Available:
        target = _target(obj)
        against = availability.before_asking(self._lister, target.service)
        if against is not None:
            return against
        # Whoever owns the network may lie about this; requests are checked.
        lax = Target(target.service, insecure=True)
        path = "/apis/{}/{}".format(*_group_version(obj))
        problem = ""
        attempts = [asyncio.ensure_future(self._attempt(lax, path)) for _ in range(_ATTEMPTS)]
        try:
            for attempt in asyncio.as_completed(attempts):
                problem = await attempt
                if not problem:
                    return availability.PASSED
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        return availability.failed_discovery(problem)

    async def _attempt(self, target: Target, path: str) -> str:
        """What is wrong with the answer to one request; "" for nothing."""
        try:
            address = self._connections.address(target)
        except Unreachable as error:
            return str(error)
        url = f"https://{address}{path}"
        try:
            answer = await self._connections.request(
                target, "GET", path, AGGREGATOR, timeout_s=_CHECK_TIMEOUT_S, address=address
            )
        except Unreachable as error:
            why = f"Get {go_quote(url)}: {error}"
        except TimeoutError:
            why = f"Get {go_quote(url)}: context deadline exceeded"
        else:
            answer.close()
            if 200 <= answer.status < 300:
                return ""
            why = f"bad status from {url}: {answer.status}"
        return f"failing or missing response from {url}: {why}"

    # -- documents --------------------------------------------------------------------------------------

    async def _refresh(self, name: str) -> None:
        obj = self._known.get(name)
        if obj is None:
            return
        target, (group, version) = _target(obj), _group_version(obj)
        resources = None
        if availability.is_available(obj):
            try:
                resources = await self._fetcher.resources(target, group, version)
            except _MALFORMED as error:
                log.warning("the discovery document of API service %s is none: %r", name, error)
        if self._known.get(name) is not obj:
            return  # it changed meanwhile, and is queued again
        if resources is not None:
            self._resources[name] = resources
        self._tell(name, obj, is_stale=resources is None)
        if resources is not None:
            await self._refresh_openapi(name, obj, target)
            self._refreshes.forget(name)
        self._refreshes.add_after(name, _REFRESH_S)

    async def _refresh_openapi(self, name: str, obj: Obj, target: Target) -> None:
        group, version = _group_version(obj)
        try:
            url = (await self._fetcher.v3_urls(target)).get(f"apis/{group}/{version}", "")
            part = await self._fetcher.v2(target, group, version)
        except _MALFORMED as error:
            log.warning("the OpenAPI documents of API service %s are none: %r", name, error)
            return
        if self._known.get(name) is not obj:
            return
        handle = Proxy(self._connections, target, obj).handle
        self._server.openapi.set_extension(
            group, version, Extension(url, handle, part) if url or part else None
        )


def _target(obj: Obj) -> Target:
    service = reference(obj)
    assert service is not None
    return Target.of(service, obj)


def _group_version(obj: Obj) -> tuple[str, str]:
    return obj["spec"].get("group", ""), obj["spec"]["version"]


def _service_of(obj: Obj, resource: Resource) -> tuple[str, str]:
    meta = obj["metadata"]
    name = meta["name"] if resource is SERVICES else (meta.get("labels") or {}).get(SERVICE_NAME, "")
    return meta["namespace"], name
