"""The provider `local` as a whole."""

from __future__ import annotations

import asyncio

from pilothouse.cloud.providers.local import config
from pilothouse.cloud.providers.local.balancers import LocalLoadBalancers
from pilothouse.cloud.providers.local.instances import LocalInstances
from pilothouse.cloud.providers.local.routes import LocalRoutes
from pilothouse.cloud.providers.local.volumes import LocalVolumes
from pilothouse.cloud.registry import Setting


class LocalProvider:
    """ValueError for a configuration that cannot be used."""

    name = "local"

    def __init__(self, setting: Setting) -> None:
        found = config.read(setting.config)
        self.instances = LocalInstances(found.zone, found.region)
        self.load_balancers = LocalLoadBalancers(found, setting.cluster, setting.informers, setting.world)
        self.routes = LocalRoutes() if found.routes else None
        self.volumes = LocalVolumes(setting.directory, found.capacity_bytes)

    async def run(self) -> None:
        """Until cancelled: ports are opened by the calls that ask for them."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        await self.load_balancers.close()
