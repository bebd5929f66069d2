"""What follows a decision, beside the scheduling of other pods (schedule_one.go, bindingCycle).

Permit ──waits──▶ PreBind ──▶ Bind ──▶ PostBind
   └── refused, timed out or failed anywhere: Unreserve, in the reverse order of Reserve
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pilothouse.kit.world import World
from pilothouse.scheduler.framework import Cycle


class BindingRefused(Exception):
    """A plugin said no after a node was found; `plugin` names it."""

    def __init__(self, plugin: str, why: str) -> None:
        self.plugin = plugin
        super().__init__(why)


class Permits:
    """Pods that wait for a Permit plugin, until somebody allows or rejects them (framework.WaitingPod)."""

    def __init__(self, world: World, waited: Callable[[str, float], None] | None = None) -> None:
        """`waited` is told the result of each wait, and its seconds."""
        self._world = world
        self._waited = waited
        self._waiting: dict[str, asyncio.Future[str]] = {}

    def allow(self, uid: str) -> None:
        self._settle(uid, "")

    def reject(self, uid: str, why: str) -> None:
        self._settle(uid, why)

    def _settle(self, uid: str, why: str) -> None:
        future = self._waiting.get(uid)
        if future is not None and not future.done():
            future.set_result(why)

    async def obtain(self, cycle: Cycle, node: str) -> None:
        """Ask every Permit plugin, then wait as long as the least patient one of them. BindingRefused."""
        waits: list[tuple[float, str]] = []
        for plugin in cycle.profile.permit:
            verdict = plugin.permit(cycle, node)
            if verdict.refusal:
                raise BindingRefused(plugin.name, verdict.refusal)
            if verdict.wait_s:
                waits.append((verdict.wait_s, plugin.name))
        if waits:
            await self._wait(cycle.info.uid, *min(waits))

    async def _wait(self, uid: str, wait_s: float, plugin: str) -> None:
        began_s = self._world.clock.monotonic()
        result = "Unschedulable"
        try:
            await self._until_settled(uid, wait_s, plugin)
            result = "Success"
        finally:
            if self._waited is not None:
                self._waited(result, self._world.clock.monotonic() - began_s)

    async def _until_settled(self, uid: str, wait_s: float, plugin: str) -> None:
        future = self._waiting[uid] = asyncio.get_running_loop().create_future()
        try:
            why = await self._world.within(wait_s, future)
        except TimeoutError:
            raise BindingRefused(plugin, f"timeout after {wait_s:g}s, waiting on permit") from None
        finally:
            del self._waiting[uid]
        if why:
            raise BindingRefused(plugin, why)


def reserve(cycle: Cycle, node: str) -> None:
    """BindingRefused when a plugin cannot; what others had reserved is then given back."""
    for plugin in cycle.profile.reserve:
        why = plugin.reserve(cycle, node)
        if why:
            unreserve(cycle, node)
            raise BindingRefused(plugin.name, why)


def unreserve(cycle: Cycle, node: str) -> None:
    for plugin in reversed(cycle.profile.reserve):
        plugin.unreserve(cycle, node)


async def bind(cycle: Cycle, node: str, permits: Permits) -> None:
    """ApiError, ConnectionError or BindingRefused; everything is then as if it had not been tried."""
    try:
        await permits.obtain(cycle, node)
        for pre in cycle.profile.pre_bind:
            await pre.pre_bind(cycle, node)
        await _first_that_binds(cycle, node)
    except BaseException:
        unreserve(cycle, node)
        raise
    for post in cycle.profile.post_bind:
        post.post_bind(cycle, node)


async def _first_that_binds(cycle: Cycle, node: str) -> None:
    for plugin in cycle.profile.bind:
        if await plugin.bind(cycle, node):
            return
    raise BindingRefused("", f"no plugin binds pod {cycle.info.key}")
