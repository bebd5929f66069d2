"""Whether an API that may be off is served. Asked once, when a controller starts, as upstream does: a server that is
told to serve it is started anew."""

from __future__ import annotations

import logging

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.client.client import Client
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_RETRY_S = 2.0


async def is_served(client: Client, resource: Resource, world: World) -> bool:
    """Waits for a server that does not answer."""
    while True:
        try:
            listed = await client.raw("GET", resource.prefix)
        except ApiError as error:
            if error.code == 404:
                return False
            log.info("discovery of %s failed: %s; trying again", resource.group_version, error)
        except ConnectionError as error:
            log.info("discovery of %s failed: %s; trying again", resource.group_version, error)
        else:
            return any(r["name"] == resource.plural for r in listed["resources"])
        await world.clock.sleep(_RETRY_S)
