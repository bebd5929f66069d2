"""The provider `aws` as a whole."""

from __future__ import annotations

import asyncio

from pilothouse.cloud.providers.aws import config
from pilothouse.cloud.providers.aws.balancers import AwsLoadBalancers
from pilothouse.cloud.providers.aws.calls import Aws
from pilothouse.cloud.providers.aws.instances import AwsInstances
from pilothouse.cloud.providers.aws.node_index import NodeIndex
from pilothouse.cloud.providers.aws.routes import AwsRoutes
from pilothouse.cloud.providers.aws.volumes import AwsVolumes
from pilothouse.cloud.registry import Setting


class AwsProvider:
    """ValueError for a configuration that cannot be used."""

    name = "aws"

    def __init__(self, setting: Setting) -> None:
        found = config.read(setting.config)
        self._aws = Aws(found, setting.world, setting.metrics)
        nodes = NodeIndex(setting.informers)
        self.instances = AwsInstances(self._aws, setting.world)
        self.load_balancers = AwsLoadBalancers(self._aws, setting.cluster, self.instances)
        self.routes = AwsRoutes(self._aws, setting.cluster, found.route_tables, self.instances, nodes)
        self.volumes = AwsVolumes(self._aws, setting.cluster, self.instances, setting.world)

    async def run(self) -> None:
        """Until cancelled: nothing runs but calls."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        await self.instances.close()
        await self.volumes.close()
        await self._aws.close()
