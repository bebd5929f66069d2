"""A component in a process of its own: its way to the API server, its turn to lead, its HTTPS port.

connect ──▶ serve health and metrics ──▶ wait for the lease ──▶ work ──lease lost──▶ LeadershipLost: end
                                                                 └──cancelled──▶ lease given up: end
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from pilothouse import __version__
from pilothouse.api.errors import ApiError
from pilothouse.apiserver import zpages
from pilothouse.client import kubeconfig
from pilothouse.client.account_tokens import AccountTokens
from pilothouse.client.events import EventRecorder
from pilothouse.client.leader_election import LeaderElector, Timings
from pilothouse.client.resource_client import ResourceClient
from pilothouse.client.throttle import TokenBucket
from pilothouse.components.endpoint import Endpoint, EndpointOptions, Tree, check
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_LAST_WORDS_LIMIT_S = 1.0
_PATHS = ("/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz")


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the API server. `qps` 0 or less holds no request back."""

    kubeconfig: Path
    server: str = ""
    qps: float = 0.0
    burst: int = 0


@dataclass(frozen=True, slots=True)
class Election:
    """Which lease to lead by; `enabled` False leads at once."""

    name: str
    namespace: str = "kube-system"
    enabled: bool = True
    timings: Timings = field(default_factory=Timings)


class Clients:
    """Clients of one process over HTTPS: one identity from the kubeconfig, others of service accounts."""

    def __init__(self, connection: Connection, world: World, program: str) -> None:
        self._connection = connection
        self._world = world
        self._program = program
        self._config = kubeconfig.load(connection.kubeconfig, connection.server)
        self._opened: list[ResourceClient] = []
        self._own: ResourceClient | None = None

    @property
    def authority(self) -> str:
        """The CAs that the server is checked with, PEM."""
        return self._config.authority

    @property
    def own(self) -> ResourceClient:
        """As the kubeconfig's user."""
        if self._own is None:
            self._own = self._open(None, "")
        return self._own

    def account(self, name: str) -> ResourceClient:
        """As a service account of kube-system, made if it is missing."""
        return self._open(AccountTokens(self.own, "kube-system", name, self._world), f"/{name}")

    def _open(self, tokens: AccountTokens | None, suffix: str) -> ResourceClient:
        connection = self._connection
        throttle = None
        if connection.qps > 0:
            throttle = TokenBucket(connection.qps, connection.burst, self._world)
        agent = f"{self._program}/v{__version__} ({platform.system().lower()}){suffix}"
        transport = kubeconfig.transport(self._config, self._world, agent, tokens=tokens, throttle=throttle)
        client = ResourceClient(transport)
        self._opened.append(client)
        return client

    async def close(self) -> None:
        for client in self._opened:
            await client.close()


class Standalone:
    """`work` runs while this process leads. `readiness` are checks that tell what is wrong, for /readyz alone; `pages`
    are JSON documents by path, `trees` those whose path goes on; with `flags`, as they were given or stand by default,
    /flagz and /statusz are served, too."""

    def __init__(
        self,
        clients: Clients,
        world: World,
        metrics: CollectorRegistry,
        election: Election,
        endpoint: EndpointOptions,
        reviewers: tuple[ResourceClient | None, ResourceClient | None] = (None, None),
        *,
        readiness: Mapping[str, Callable[[], str]] | None = None,
        pages: Mapping[str, Callable[[], bytes]] | None = None,
        trees: Mapping[str, Tree] | None = None,
        flags: Mapping[str, str] | None = None,
    ) -> None:
        self._clients = clients
        self._world = world
        self._election = election
        self._tasks = Tasks(endpoint.name)
        self._recorder = EventRecorder(clients.own, endpoint.name, world)
        identity = f"{platform.node()}_{world.uid()}"
        self.elector = LeaderElector(
            clients.own,
            world,
            name=election.name,
            identity=identity,
            namespace=election.namespace,
            timings=election.timings,
            recorder=self._recorder,
            metrics=metrics,
        )
        self._reviewers = reviewers
        self._checks = {"ping": check(lambda: ""), "leaderElection": check(self.elector.problem)}
        ready = {name: check(problem) for name, problem in (readiness or {}).items()}
        paths = (*_PATHS, *(pages or ()), *(root.rstrip("/") for root in trees or ()))
        self._endpoint = Endpoint(
            endpoint,
            world,
            metrics,
            self._checks,
            *reviewers,
            readiness=ready,
            pages=pages,
            trees=trees,
            answers=zpages.pages(endpoint.name, world, flags, paths) if flags is not None else None,
        )

    def watch_over(self, problems: Mapping[str, Callable[[], str]]) -> None:
        """More health checks, which come with the work: what is wrong by name, "" when nothing is."""
        self._checks.update({name: check(problem) for name, problem in problems.items()})

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Until cancelled. LeadershipLost when another may lead; OSError when the port is taken."""
        await self._endpoint.start()
        try:
            self._tasks.start("events", self._recorder.run())
            if self._election.enabled:
                await self.elector.run(work)
            else:
                await work()
        finally:
            await self._tasks.stop()
            await self._last_words()
            await self._endpoint.stop()
            await self._clients.close()
            for reviewer in self._reviewers:
                if reviewer is not None:
                    await reviewer.close()

    async def _last_words(self) -> None:
        """The event that we stopped leading, if the server takes it soon."""
        try:
            await self._world.within(_LAST_WORDS_LIMIT_S, self._recorder.drain())
        except (ApiError, ConnectionError, TimeoutError) as error:
            log.info("last events were not written: %s", error)
