"""What there is in a simulated cloud, and how each call to it goes.

    call ──▶ rate limit ──▶ latency ──▶ refused? ──▶ done ──▶ answer lost? ──▶ answer
                │ over it: Throttled, tried again with back-off, as SDKs do

Reads lag: what was made is not seen for `lagSeconds`, what was deleted is seen for as long. Writes, and reads of one
thing by its name or id, know everything, as those of real clouds mostly do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from pilothouse.client.throttle import TokenBucket
from pilothouse.cloud.provider import CloudError, NoRoom
from pilothouse.cloud.providers.sim.config import Config, Span
from pilothouse.kit.world import World

T = TypeVar("T")
_ATTEMPTS = 5
_BACKOFF_S = 0.5


class Throttled(CloudError):
    """More calls than the account may make."""


@dataclass(slots=True)
class Thing:
    """Something in the account: `made_s` and `gone_s` say when, on the world's monotonic clock."""

    id: str
    made_s: float
    gone_s: float | None = None


@dataclass(slots=True)
class Machine(Thing):
    node: str = ""
    zone: str = ""
    type: str = ""
    group: str = ""
    state: str = "running"
    """running or stopped."""
    started_s: float = 0.0
    """When its kubelet starts; the cloud knows it before that."""


@dataclass(slots=True)
class Balancer(Thing):
    address: str = ""
    ready_s: float = 0.0
    ports: tuple[tuple[str, int], ...] = ()
    nodes: frozenset[str] = frozenset()


@dataclass(slots=True)
class Disk(Thing):
    name: str = ""
    zone: str = ""
    size_bytes: int = 0
    shared: bool = False
    attached: dict[str, float] = field(default_factory=dict)
    """By machine, when it is on."""


@dataclass(slots=True)
class Way(Thing):
    node: str = ""
    destination: str = ""


@dataclass(slots=True)
class Copy(Thing):
    name: str = ""
    disk: str = ""
    size_bytes: int = 0


class Account:
    """The state, and the only way to it."""

    def __init__(self, config: Config, world: World) -> None:
        self.config = config
        self.world = world
        self.random = Random(config.seed) if config.seed else world.random
        self.machines: dict[str, Machine] = {}
        self.balancers: dict[str, Balancer] = {}
        self.disks: dict[str, Disk] = {}
        self.ways: dict[str, Way] = {}
        self.copies: dict[str, Copy] = {}
        self.calls: Counter[str] = Counter()
        """What arrived, by kind; throttled calls too."""
        self.throttled = 0
        self._bucket = TokenBucket(config.rate.calls_per_second * 0.9, config.rate.burst, world)
        """Ours, before the cloud's: a well-behaved client is never throttled."""
        self._allowed = float(config.rate.burst)
        self._at_s = 0.0
        self._count = 0

    def now_s(self) -> float:
        return self.world.clock.monotonic()

    def draw(self, span: Span) -> float:
        return self.random.uniform(*span)

    def next_id(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._count:08x}"

    # -- calls -------------------------------------------------------------------------------------------

    async def call(self, kind: str, work: Callable[[], T]) -> T:
        """CloudError when the cloud fails, or does not say what became of it."""
        for attempt in range(_ATTEMPTS):
            await self._bucket.wait()
            try:
                return await self._one(kind, work)
            except Throttled:
                if attempt + 1 == _ATTEMPTS:
                    raise
                await self.world.clock.sleep(_BACKOFF_S * 2**attempt * (1 + self.random.random()))
        raise AssertionError("the last attempt raises")

    async def _one(self, kind: str, work: Callable[[], T]) -> T:
        self.calls[kind] += 1
        self._admit(kind)
        await self.world.clock.sleep(self.draw(self.config.latency_seconds))
        luck = self.random.random()
        if luck < self.config.failures.refused:
            raise CloudError(f"{kind}: internal error of the cloud")
        answer = work()
        if luck < self.config.failures.refused + self.config.failures.lost:
            raise CloudError(f"{kind}: no answer")
        return answer

    def _admit(self, kind: str) -> None:
        rate, now = self.config.rate, self.now_s()
        self._allowed = min(rate.burst, self._allowed + (now - self._at_s) * rate.calls_per_second)
        self._at_s = now
        if self._allowed < 1:
            self.throttled += 1
            raise Throttled(f"{kind}: request limit exceeded")
        self._allowed -= 1

    def make_room(self, kind: str, present: int, most: int) -> None:
        """NoRoom at the quota."""
        if present >= most:
            raise NoRoom(f"the quota of {most} {kind} is used up")

    # -- reads -------------------------------------------------------------------------------------------

    def seen(self, things: dict[str, T_Thing]) -> Iterator[T_Thing]:
        """What a list shows now: late, both ways."""
        horizon_s = self.now_s() - self.config.lag_seconds
        for thing in things.values():
            if thing.made_s <= horizon_s and (thing.gone_s is None or thing.gone_s > horizon_s):
                yield thing

    def alive(self, things: dict[str, T_Thing]) -> list[T_Thing]:
        """What there is."""
        return [thing for thing in things.values() if thing.gone_s is None]

    def machine_of(self, node: str) -> Machine | None:
        """The youngest machine of a node's name that is there."""
        found = [machine for machine in self.alive(self.machines) if machine.node == node]
        return max(found, key=lambda machine: machine.made_s, default=None)

    def end(self, thing: Thing) -> None:
        if thing.gone_s is None:
            thing.gone_s = self.now_s()

    def sweep(self, things: dict[str, T_Thing]) -> None:
        """Forget what no list shows any more."""
        horizon_s = self.now_s() - self.config.lag_seconds - 1.0
        for key in [
            k for k, thing in things.items() if thing.gone_s is not None and thing.gone_s < horizon_s
        ]:
            del things[key]


T_Thing = TypeVar("T_Thing", bound=Thing)
