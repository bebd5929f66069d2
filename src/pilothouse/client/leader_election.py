"""Leader election by Lease (client-go tools/leaderelection): of several copies of a component one works.

    waiting ──lease free or expired: write it──▶ leading ──renewed every retry period──▶ leading
       ▲                                           │
       └────────── not renewed in time ◀───────────┘   (the component must stop: it may lead no more)

Leading and losing are told as events on the lease. A copy trusts its own clock only for how long a record has not
changed, never the times in the record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import LEASES
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.kit.metrics import gauge
from pilothouse.kit.world import World

log = logging.getLogger(__name__)


_RELEASE_LIMIT_S = 1.0
_MASTER_HELP = (
    "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' "
    "is the string used to identify the lease. Please make sure to group by name."
)
_HEALTH_SLACK_S = 20.0
"""How long after its end a lease may still be held before that is unhealthy (upstream's 20 s)."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Upstream's defaults: --leader-elect-lease-duration, -renew-deadline, -retry-period."""

    lease_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0


class LeadershipLost(Exception):
    """The lease was not renewed in time: another copy may lead now."""


class Recorder(Protocol):
    """What tells events (`client.events.EventRecorder`)."""

    def event(self, regarding: Obj, type: str, reason: str, message: str) -> None: ...


class LeaderElector:
    """Runs `lead` while this copy holds the lease."""

    def __init__(
        self,
        client: Client,
        world: World,
        *,
        name: str,
        identity: str,
        namespace: str = "kube-system",
        timings: Timings | None = None,
        recorder: Recorder | None = None,
        metrics: CollectorRegistry | None = None,
    ) -> None:
        self._client = client
        self._world = world
        self._name = name
        self._namespace = namespace
        self.identity = identity
        self._timings = timings or Timings()
        self._recorder = recorder
        self._observed: Obj = {}
        self._observed_at = 0.0
        self._lease: Obj | None = None
        self.is_leader = False
        if metrics is not None:
            gauge(metrics, "leader_election_master_status", _MASTER_HELP, ["name"]).labels(name).set_function(
                lambda: float(self.is_leader)
            )

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, lead, and release it when cancelled. Raises LeadershipLost."""
        log.info("attempting to acquire leader lease %s/%s...", self._namespace, self._name)
        while not await self._try():
            await self._pause()
        self.is_leader = True
        log.info("successfully acquired lease %s/%s as %s", self._namespace, self._name, self.identity)
        self._tell("became leader")
        work = asyncio.ensure_future(lead())
        renewal = asyncio.ensure_future(self._renew())
        try:
            done, _ = await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.is_leader = False
            for task in (work, renewal):
                task.cancel()
            await asyncio.gather(work, renewal, return_exceptions=True)
            self._tell("stopped leading")
            await self._release()

    def problem(self) -> str:
        """For a health check: a leader whose lease ran out and that still works is not well (HealthzAdaptor)."""
        if not self.is_leader:
            return ""
        late_s = self._world.clock.monotonic() - self._observed_at - self._timings.lease_s
        return (
            f"failed election to renew leadership on lease {self._name}" if late_s > _HEALTH_SLACK_S else ""
        )

    def _tell(self, what: str) -> None:
        if self._recorder is not None and self._lease is not None:
            lease = {**self._lease, "kind": "Lease", "apiVersion": "coordination.k8s.io/v1"}
            self._recorder.event(lease, "Normal", "LeaderElection", f"{self.identity} {what}")

    async def _renew(self) -> None:
        clock, timings = self._world.clock, self._timings
        renewed_at = clock.monotonic()
        while True:
            await clock.sleep(timings.retry_s)
            left_s = renewed_at + timings.renew_deadline_s - clock.monotonic()
            if await self._try_within(left_s):
                renewed_at = clock.monotonic()
            elif clock.monotonic() - renewed_at >= timings.renew_deadline_s:
                raise LeadershipLost(
                    f"failed to renew lease {self._namespace}/{self._name} within {timings.renew_deadline_s:g} s"
                )

    async def _try_within(self, limit_s: float) -> bool:
        """A server that does not answer must not keep us leading: the deadline ends the attempt."""
        if limit_s <= 0:
            return False
        try:
            return await self._world.within(limit_s, self._try())
        except TimeoutError:
            return False

    async def _pause(self) -> None:
        await self._world.clock.sleep(self._timings.retry_s * (1 + 1.2 * self._world.random.random()))

    async def _try(self) -> bool:
        """Acquire or renew; False when somebody else holds it or the API server did not answer."""
        try:
            return await self._acquire_or_renew()
        except ApiError as error:
            if error.code not in (404, 409):
                log.warning("lease %s/%s: %s", self._namespace, self._name, error)
        except ConnectionError as error:
            log.warning("lease %s/%s: %s", self._namespace, self._name, error)
        return False

    async def _acquire_or_renew(self) -> bool:
        now = self._world.micro_timestamp()
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            self._remember(await self._client.create(LEASES, self._new(now), self._namespace))
            return True
        spec = lease.get("spec") or {}
        if spec != self._observed:
            self._observed, self._observed_at = spec, self._world.clock.monotonic()
        holder = spec.get("holderIdentity") or ""
        fresh = self._world.clock.monotonic() < self._observed_at + float(
            spec.get("leaseDurationSeconds") or 0
        )
        if holder and holder != self.identity and fresh:
            return False
        changed = {
            **spec,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self._timings.lease_s),
            "renewTime": now,
        }
        if holder != self.identity:
            changed["acquireTime"] = now
            changed["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
        self._remember(await self._client.update(LEASES, {**lease, "spec": changed}))
        return True

    def _remember(self, lease: Obj) -> None:
        self._lease = lease
        self._observed, self._observed_at = lease.get("spec") or {}, self._world.clock.monotonic()

    def _new(self, now: str) -> Obj:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self._timings.lease_s),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    async def _release(self) -> None:
        """Give the lease up at once (ReleaseOnCancel): holder cleared, one second to live."""
        if self._lease is None:
            return
        now = self._world.micro_timestamp()
        spec = {
            **(self._lease.get("spec") or {}),
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "renewTime": now,
            "acquireTime": now,
        }
        try:
            await self._world.within(
                _RELEASE_LIMIT_S, self._client.update(LEASES, {**self._lease, "spec": spec})
            )
        except (ApiError, ConnectionError, TimeoutError) as error:
            log.info("lease %s/%s not released: %s", self._namespace, self._name, error)
