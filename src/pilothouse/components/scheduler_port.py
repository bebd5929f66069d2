"""kube-scheduler's HTTPS port where the scheduler runs inside `pilothouse up`: health, metrics, /configz, /flagz,
/statusz, /explain/.

Who asks is found, and what they may, as on the port of a scheduler that runs alone (`endpoint`); the cluster's own CA
vouches for client certificates, so that the administrator's opens it. A scheduler that waits for its turn has nothing
to explain, and says so.
"""

from __future__ import annotations

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver import zpages
from pilothouse.client.client import Client
from pilothouse.components.endpoint import Endpoint, EndpointOptions, check
from pilothouse.components.scheduler import SchedulerComponent
from pilothouse.kit.world import World

_PATHS = ("/configz", "/explain", "/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz")


def _flags(options: EndpointOptions) -> dict[str, str]:
    """What a scheduler alone would have been told."""
    return {"bind-address": options.bind_address, "secure-port": str(options.port)}


class SchedulerPort:
    """`client` asks whose tokens they are and what users may: the scheduler's own. `current` is the scheduler that
    works here now."""

    def __init__(
        self, options: EndpointOptions, world: World, metrics: Collector, client: Client, config: Obj
    ) -> None:
        self.current: SchedulerComponent | None = None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(metrics)
        self._endpoint = Endpoint(
            options,
            world,
            registry,
            {"ping": check(lambda: "")},
            client,
            client,
            readiness={"informer-sync": check(self._problem)},
            pages={"/configz": lambda: msgspec.json.encode({"componentconfig": config})},
            trees={"/explain/": self._explanation},
            answers=zpages.pages("kube-scheduler", world, _flags(options), _PATHS),
        )

    def _problem(self) -> str:
        return self.current.problem() if self.current is not None else ""

    def _explanation(self, path: str) -> bytes:
        if self.current is None:
            raise errors.service_unavailable("the scheduler waits for its turn: ask the one that leads")
        return self.current.explanation(path)

    async def start(self) -> None:
        """OSError when the port is taken."""
        await self._endpoint.start()

    async def stop(self) -> None:
        await self._endpoint.stop()
