"""A token bucket for a component's requests (client-go util/flowcontrol, --kube-api-qps and --kube-api-burst)."""

from __future__ import annotations

from pilothouse.kit.world import World


class TokenBucket:
    """`rate_per_s` requests a second, `burst` at once. Those who wait go in the order in which they came."""

    def __init__(self, rate_per_s: float, burst: int, world: World) -> None:
        self._rate_per_s = rate_per_s
        self._burst = max(burst, 1)
        self._world = world
        self._tokens = float(self._burst)
        self._at = world.clock.monotonic()

    async def wait(self) -> None:
        now = self._world.clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate_per_s)
        self._at = now
        self._tokens -= 1
        if self._tokens < 0:
            await self._world.clock.sleep(-self._tokens / self._rate_per_s)
