"""What this server does itself when objects of a kind change: look at all of them again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from pilothouse.api import errors
from pilothouse.apiserver.storage.store import ResourceStore
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_WATCH_S = 3600.0
_RETRY_S = 1.0


async def follow(store: ResourceStore, world: World, settle: Callable[[], Awaitable[None]]) -> None:
    """`settle` at first and after each change, until cancelled. When the watch breaks off, or `settle` raises ApiError,
    all begins anew a second later."""
    while True:
        try:
            watcher = await store.watch(initial_events=True)
            try:
                await settle()
                while await watcher.next(_WATCH_S) is not None:
                    await settle()
            finally:
                watcher.close()
        except errors.ApiError as error:
            log.warning("the watch of %s broke off: %s; trying again", store.resource.plural, error)
        await world.clock.sleep(_RETRY_S)
