"""A whole control plane in one process: the map of how the components fit together.

    store ◀── API server ◀── HTTPS        people, kubectl, other programs
                  ▲
                  └── in-process transport ◀── controllers, scheduler, simulated nodes

Every component comes in by the front door under its own identity; only the transport is short. What a component
is made of stands in `components`, one module each; those beside the API server are imported when they start, so
that the server is ready before them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pilothouse.api.resources import POD_GROUPS
from pilothouse.api.types import Obj
from pilothouse.apiserver.authn.service_account import user_info
from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.request import UserInfo
from pilothouse.apiserver.server import ApiServer, Options
from pilothouse.client.resource_client import ResourceClient
from pilothouse.components.api_server import MASTERS, ServedApi, Serving
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from pilothouse.api.kubelet import Usages
    from pilothouse.components.scheduler_port import SchedulerPort
    from pilothouse.controllers.horizontal_pod_autoscaler import Autoscaling
    from pilothouse.nodes.stages.read import StageSet

_CLOUDS_OF_SIMULATED_NODES = ("local", "sim")
"""Providers that know the simulated nodes, which then wait to be described (as kubelets with
--cloud-provider=external)."""
_COMPONENTS = ("controller_manager", "scheduler", "simulated_nodes", "turns")


class Component(Protocol):
    def run(self) -> Coroutine[object, object, None]:
        """Until cancelled; raises what crashed."""


@dataclass(slots=True)
class ClusterOptions:
    """`data_dir` None keeps everything in memory and a temporary directory. `secure_port` 0 picks a free port;
    None opens none. `nodes` are simulated; `stages` are files in kwok's format that say how. `serving` has what is
    seldom set; the fields beside it go first. `scheduler` is a complete KubeSchedulerConfiguration, `scheduler_port`
    where it serves health, metrics and explanations (0: nowhere), `features` its feature gates that are on.
    `metrics_api` says whether metrics.k8s.io is served: "auto" as soon as a pod or a file says what containers use,
    "true", "false". `autoscaling` None is as upstream. `cloud` is a provider's name ("" for none), `cloud_config` a
    file of its own format."""

    data_dir: Path | None = None
    bind_address: str = "127.0.0.1"
    secure_port: int | None = 6443
    nodes: int = 3
    kubeconfig: Path | None = None
    controllers: tuple[str, ...] = ("*",)
    stages: tuple[Path, ...] = ()
    node_events: str = "warnings"
    metrics_api: Literal["auto", "true", "false"] = "auto"
    autoscaling: Autoscaling | None = None
    scheduler: Obj | None = None
    scheduler_port: int = 0
    features: tuple[str, ...] = ()
    cloud: str = ""
    cloud_config: Path | None = None
    server: Options = field(default_factory=Options)
    serving: Serving = field(default_factory=Serving)


class Cluster:
    """Start it, use `client()` or the kubeconfig, stop it. StageError for a stage file that cannot be used."""

    def __init__(self, options: ClusterOptions | None = None, world: World | None = None) -> None:
        self.options = options or ClusterOptions()
        self.world = world or World()
        self.metrics = new_registry()
        self.kubeconfig: Path | None = None
        self._served = ServedApi(self._serving(), self.world, self.metrics)
        self._tasks = Tasks("cluster")
        self._stages = self._read_stages()
        self._port: SchedulerPort | None = None

    def _read_stages(self) -> StageSet | None:
        if not self.options.stages:
            return None
        from pilothouse.nodes.stages.read import read

        return read(self.options.stages, self.world)

    def _serving(self) -> Serving:
        options = self.options
        return replace(
            options.serving,
            data_dir=options.data_dir,
            bind_address=options.bind_address,
            listen=options.secure_port is not None,
            server=replace(options.server, secure_port=options.secure_port or 0),
        )

    @property
    def api(self) -> ApiServer:
        return self._served.api

    @property
    def server_url(self) -> str:
        return self._served.url

    async def start(self) -> None:
        """Ready when it returns. StoreError when another process has the data, OSError when the port is taken."""
        await self.start_server()
        self.start_components()
        await self.open_scheduler_port()

    async def start_server(self) -> None:
        """The API server alone: /readyz answers from here on."""
        await self._served.start()
        if self.options.secure_port is not None:
            self.kubeconfig = self.options.kubeconfig or self._served.directory / "kubeconfig"
            self._served.write_kubeconfig(self.kubeconfig, "admin", "kubernetes-admin", (MASTERS,))

    def start_components(self) -> None:
        """What makes a cluster of the server."""
        for name in ("controller-manager", "scheduler"):
            self.api.components[name] = lambda: ""  # a crash of one ends the cluster
        self._start_controllers()
        self._start_scheduler()
        self._start_nodes()
        if self.options.cloud:
            self._start_cloud()

    async def open_scheduler_port(self) -> None:
        """If it is wanted, once the components are started. OSError when it is taken."""
        if self._port is not None:
            await self._port.start()

    async def wait(self) -> None:
        """Until a component crashes: raises what it raised."""
        await self._tasks.wait()

    # -- components -------------------------------------------------------------------------------------

    def client(self, user: str = "kubernetes-admin", groups: tuple[str, ...] = (MASTERS,)) -> ResourceClient:
        """A client in this process, acting as `user`."""
        info = UserInfo(user, "", (*groups, "system:authenticated"))
        return ResourceClient(InProcessTransport(self.api.handle, info, user.rpartition(":")[2]))

    def _account_client(self, account: str) -> ResourceClient:
        info = user_info("kube-system", account, "")
        known = UserInfo(info.name, "", (*info.groups, "system:authenticated"))
        return ResourceClient(InProcessTransport(self.api.handle, known, "kube-controller-manager"))

    def _start_controllers(self) -> None:
        from pilothouse.components.controller_manager import USER, ControllerManager
        from pilothouse.controllers.certificate_authority import CertificateAuthority
        from pilothouse.controllers.certificate_requests import CHECKS
        from pilothouse.controllers.manager import Settings
        from pilothouse.controllers.names import served_gates

        authority = self._served.authority
        settings = Settings(
            authority.pem,
            self.api.signer.legacy,
            features=served_gates(self.api.catalog.find),
            certificate_signers=dict.fromkeys(CHECKS, CertificateAuthority(*authority.files)),
        )
        if self.options.autoscaling is not None:
            settings = replace(settings, autoscaling=self.options.autoscaling)
        client = self.client(USER, ())

        def make() -> ControllerManager:
            names = self.options.controllers
            return ControllerManager(client, self._account_client, self.world, self.metrics, settings, names)

        self._run("kube-controller-manager", client, make)

    def _start_scheduler(self) -> None:
        from pilothouse.components.scheduler import USER, SchedulerComponent
        from pilothouse.components.turns import LatestMetrics
        from pilothouse.controllers.names import served_gates
        from pilothouse.scheduler.features import DEVICE_TAINT_RULES
        from pilothouse.scheduler.gangs import GATES

        client = self.client(USER, ())
        metrics = LatestMetrics()
        self.metrics.register(metrics)
        scheduler = self.options.scheduler
        has_groups = self.api.catalog.find(POD_GROUPS.group, POD_GROUPS.version, POD_GROUPS.plural)
        has_rules = served_gates(self.api.catalog.find).get(DEVICE_TAINT_RULES)
        features = (
            *self.options.features,
            *(GATES if has_groups is not None else ()),
            *((DEVICE_TAINT_RULES,) if has_rules else ()),
        )
        if self.options.scheduler_port:
            self._port = self._scheduler_port(client, metrics)

        def make() -> SchedulerComponent:
            made = SchedulerComponent(client, self.world, metrics.renew(), scheduler, features=features)
            if self._port is not None:
                self._port.current = made
            return made

        self._run("kube-scheduler", client, make)

    def _scheduler_port(self, client: ResourceClient, metrics: Collector) -> SchedulerPort:
        from pilothouse.components.endpoint import EndpointOptions
        from pilothouse.components.scheduler_port import SchedulerPort
        from pilothouse.scheduler.config import defaults

        options = EndpointOptions(
            "kube-scheduler",
            self.options.bind_address,
            self.options.scheduler_port,
            client_ca_file=self._served.authority.files.certificate,
            port_flag="--scheduler-secure-port",
        )
        config = self.options.scheduler or defaults.with_features(
            defaults.configuration(), self.options.features
        )
        return SchedulerPort(options, self.world, metrics, client, config)

    def _start_nodes(self) -> None:
        from pilothouse.components.simulated_nodes import USER, SimulatedNodes, usages_of

        client = self.client(USER, (MASTERS,))
        options = self.options
        usages = usages_of(self._stages)
        on_described = self._start_metrics(usages)

        def make() -> SimulatedNodes:
            nodes = SimulatedNodes(
                client,
                self.world,
                count=options.nodes,
                events=options.node_events,
                stages=self._stages,
                usages=usages,
                on_described=on_described,
                external_cloud=options.cloud in _CLOUDS_OF_SIMULATED_NODES,
            )
            self.api.kubelets = nodes.kubelets
            return nodes

        self._run("simulated-nodes", client, make)

    def _start_metrics(self, usages: Usages) -> Callable[[], None] | None:
        """What to do when the first pod says what it uses (docs/decisions/0072)."""
        metrics = self.api.know_usages(usages)
        if self.options.metrics_api == "false":
            metrics.retire()
            return None
        metrics.start()
        if self.options.metrics_api == "true" or (self._stages is not None and self._stages.usages):
            metrics.announce()
            return None
        return metrics.announce

    def _start_cloud(self) -> None:
        from pilothouse.cloud.manager import Settings
        from pilothouse.cloud.registry import find
        from pilothouse.components.cloud_controller_manager import USER, CloudControllerManager
        from pilothouse.nodes import addresses

        client = self.client(USER, (MASTERS,))

        def make() -> CloudControllerManager:
            return CloudControllerManager(
                client,
                self._account_client,
                self.world,
                self.metrics,
                Settings(cluster_cidrs=(addresses.PODS,)),
                open_provider=find(self.options.cloud),
                config=self.options.cloud_config,
                directory=self._served.directory / "cloud",
            )

        self._run("cloud-controller-manager", client, make)

    def _run(self, name: str, client: ResourceClient, make: Callable[[], Component]) -> None:
        """On an etcd that others may run on, too, one of them at a time does the work."""
        if self._served.is_alone:
            self._tasks.start(name, make().run())
            return
        from pilothouse.components.turns import Turns

        self._tasks.start(name, Turns(client, self.world, name).run(lambda: make().run()))

    async def stop(self) -> None:
        """Stop everything, the store last; what was acknowledged is on the disk. Raises what crashed."""
        try:
            if self._port is not None:
                await self._port.stop()
            await self._tasks.stop()
        finally:
            await self._served.stop()

    async def __aenter__(self) -> Cluster:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()


def load_components() -> None:
    """Import what `start_components` needs; a thread may do it while the server answers."""
    for name in _COMPONENTS:
        importlib.import_module(f"pilothouse.components.{name}")
