"""cloud-controller-manager: which loops there are, and running the chosen ones (k8s.io/cloud-provider/app).

A loop runs where the provider has what it needs: a cloud without routes has no route controller.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from pilothouse.client.reconciler import Controller, Environment
from pilothouse.cloud.node import CloudNodeController
from pilothouse.cloud.node_lifecycle import CloudNodeLifecycleController
from pilothouse.cloud.provider import Provider, Volumes
from pilothouse.cloud.route import RouteController
from pilothouse.cloud.service import ServiceController
from pilothouse.cloud.volume_attacher import VolumeAttacher
from pilothouse.cloud.volume_provisioner import VolumeProvisioner
from pilothouse.cloud.volume_resizer import VolumeResizer
from pilothouse.kit.metrics import gauge
from pilothouse.kit.selection import selected

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What single loops need beyond their environment and the provider; upstream's flags and defaults."""

    cluster_name: str = "kubernetes"
    cluster_cidrs: tuple[str, ...] = ()
    """--cluster-cidr: routes outside of these networks are somebody else's; without any no routes are made."""
    configure_routes: bool = True
    node_monitor_s: float = 5.0
    node_status_s: float = 300.0
    route_s: float = 10.0
    workers: Mapping[str, int] = field(default_factory=dict)
    """Reconciliations at once by controller (--concurrent-service-syncs, --concurrent-node-syncs)."""


Factory = Callable[[Environment, Provider, Settings], Controller | None]
"""None where the provider has not what the loop is about."""


class Entry(NamedTuple):
    """One loop: the account it acts as in kube-system, the source component of its events, and how it is made."""

    account: str
    component: str
    make: Factory


def _node(env: Environment, provider: Provider, settings: Settings) -> Controller | None:
    instances = provider.instances
    return CloudNodeController(env, instances, settings.node_status_s) if instances is not None else None


def _node_lifecycle(env: Environment, provider: Provider, settings: Settings) -> Controller | None:
    if provider.instances is None:
        return None
    return CloudNodeLifecycleController(env, provider.instances, settings.node_monitor_s)


def _service(env: Environment, provider: Provider, settings: Settings) -> Controller | None:
    balancers = provider.load_balancers
    return ServiceController(env, balancers) if balancers is not None else None


def _route(env: Environment, provider: Provider, settings: Settings) -> Controller | None:
    if provider.routes is None or not settings.configure_routes or not settings.cluster_cidrs:
        return None
    return RouteController(env, provider.routes, settings.cluster_cidrs, settings.route_s)


def _volumes(make: Callable[[Environment, Volumes], Controller]) -> Factory:
    def found(env: Environment, provider: Provider, settings: Settings) -> Controller | None:
        return make(env, provider.volumes) if provider.volumes is not None else None

    return found


_MANAGED = "running_managed_controllers"
_MANAGED_HELP = "Indicates where instances of a controller are currently running"
AS_MANAGER = ""
"""The account of loops for which upstream's policy has no role: they act as the component itself."""

TABLE: dict[str, Entry] = {
    "cloud-node-controller": Entry("node-controller", "cloud-node-controller", _node),
    "cloud-node-lifecycle-controller": Entry(
        "node-controller", "cloud-node-lifecycle-controller", _node_lifecycle
    ),
    "service-lb-controller": Entry("service-controller", "service-controller", _service),
    "node-route-controller": Entry("route-controller", "route_controller", _route),
    "cloud-volume-provisioner-controller": Entry(
        AS_MANAGER, "cloud-volume-provisioner", _volumes(VolumeProvisioner)
    ),
    "cloud-volume-attacher-controller": Entry(AS_MANAGER, "cloud-volume-attacher", _volumes(VolumeAttacher)),
    "cloud-volume-resizer-controller": Entry(AS_MANAGER, "cloud-volume-resizer", _volumes(VolumeResizer)),
}
"""By upstream's name, in the order they start."""

ALIASES = {
    "cloud-node": "cloud-node-controller",
    "cloud-node-lifecycle": "cloud-node-lifecycle-controller",
    "route": "node-route-controller",
    "service": "service-lb-controller",
}


def chosen(spec: Iterable[str]) -> list[str]:
    """The names that --controllers selects. ValueError for a name that is none."""
    return selected(spec, TABLE, known=TABLE, aliases=ALIASES)


class Manager:
    """Runs loops. `environment(account, component)` gives each its own identity."""

    def __init__(
        self,
        environment: Callable[[str, str], Environment],
        provider: Provider,
        settings: Settings,
        wanted: Iterable[str] = ("*",),
    ) -> None:
        self.controllers: list[Controller] = []
        self._running: set[str] = set()
        for name in chosen(wanted):
            entry = TABLE[name]
            env = environment(entry.account, entry.component)
            controller = entry.make(env, provider, settings)
            if controller is None:
                log.debug("%s does not run: provider %s has nothing for it", name, provider.name)
                continue
            controller.worker_count = settings.workers.get(name, controller.workers)
            controller.setup()
            self.controllers.append(controller)
            managed = gauge(env.metrics, _MANAGED, _MANAGED_HELP, ("name", "manager"))
            managed.labels(name, "cloud-controller-manager").set_function(partial(self._is_running, name))

    def checks(self) -> dict[str, Callable[[], str]]:
        """A health check of each loop by its name: what is wrong with it, "" for nothing."""
        return {one.name: partial(self._problem, one) for one in self.controllers}

    def _is_running(self, name: str) -> float:
        return float(name in self._running)

    def _problem(self, controller: Controller) -> str:
        return controller.problem() if controller.name in self._running else "it does not run"

    async def run(self) -> None:
        """Until cancelled; a loop that dies takes the others with it, so that nobody misses it."""
        async with asyncio.TaskGroup() as group:
            for controller in self.controllers:
                group.create_task(self._run(controller), name=controller.name)

    async def _run(self, controller: Controller) -> None:
        self._running.add(controller.name)
        try:
            await controller.run()
        finally:
            self._running.discard(controller.name)
