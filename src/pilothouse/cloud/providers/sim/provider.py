"""The provider `sim` as a whole."""

from __future__ import annotations

import asyncio

from pilothouse.cloud.providers.sim import config
from pilothouse.cloud.providers.sim.account import Account
from pilothouse.cloud.providers.sim.faces import SimInstances, SimLoadBalancers, SimRoutes, SimVolumes
from pilothouse.cloud.providers.sim.machines import Machines
from pilothouse.cloud.registry import Setting


class SimProvider:
    """ValueError for a configuration that cannot be used. `account` may be one that outlives this provider."""

    name = "sim"

    def __init__(self, setting: Setting, account: Account | None = None) -> None:
        self.account = account or Account(config.read(setting.config), setting.world)
        self.instances = SimInstances(self.account)
        self.load_balancers = SimLoadBalancers(self.account, setting.cluster)
        self.routes = SimRoutes(self.account)
        self.volumes = SimVolumes(self.account)
        self.machines = Machines(self.account, setting.client, setting.informers)

    async def run(self) -> None:
        """Until cancelled."""
        if self.account.config.autoscaler_address:
            from pilothouse.cloud.providers.sim.autoscaling import serve

            await asyncio.gather(
                self.machines.run(), serve(self.machines, self.account.config.autoscaler_address)
            )
        else:
            await self.machines.run()

    async def close(self) -> None:
        await self.instances.close()
