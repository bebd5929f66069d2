"""An API server and a scheduler in this process, and nothing else: no kubelets and, but for the one that makes
resource claims, no controllers, as upstream's benchmark (test/integration/scheduler_perf util.go mustSetupCluster)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.scheduler_perf.read import WorkloadError
from pilothouse.api.resources import PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.request import UserInfo
from pilothouse.apiserver.server import Options
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informer, Informers
from pilothouse.client.reconciler import Environment
from pilothouse.client.resource_client import ResourceClient
from pilothouse.components import scheduler
from pilothouse.components.api_server import MASTERS, ServedApi, Serving
from pilothouse.controllers.resource_claim import ResourceClaimController
from pilothouse.kit import garbage
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World
from pilothouse.scheduler.config import load
from pilothouse.scheduler.node_table import NodeTable

_WITHOUT = ("ServiceAccount", "TaintNodesByCondition", "Priority")
"""Admission plugins that upstream's benchmark turns off: pods name a priority without a class."""


class BenchmarkCluster:
    """`durable`: on the disk, every write acknowledged after it is there. `config` is a KubeSchedulerConfiguration
    file; ValueError for what is wrong in it."""

    def __init__(self, *, durable: bool, config: Path | None = None) -> None:
        self._config = load.read(config) if config is not None else None
        self.world = World()
        self.metrics = new_registry()
        self._directory = tempfile.TemporaryDirectory(prefix="benchmark-") if durable else None
        serving = Serving(
            data_dir=Path(self._directory.name) / "data" if self._directory is not None else None,
            listen=False,
            server=Options(disable_admission=_WITHOUT),
        )
        self._served = ServedApi(serving, self.world, self.metrics)
        self.tasks = Tasks("benchmark")
        self._claims: ResourceClaimController | None = None

    async def __aenter__(self) -> BenchmarkCluster:
        garbage.hold()
        await self._served.start()
        self.client = self._client("benchmark", MASTERS)
        self._component = scheduler.SchedulerComponent(self._client(scheduler.USER), self.world, self.metrics)
        self.tasks.start("kube-scheduler", self._component.run())
        await self._component.informers.synced()
        garbage.settle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.tasks.stop()
        finally:
            await self._served.stop()
            if self._directory is not None:
                self._directory.cleanup()

    def _client(self, user: str, *groups: str) -> ResourceClient:
        info = UserInfo(user, "", (*groups, "system:authenticated"))
        return ResourceClient(InProcessTransport(self._served.api.handle, info, user.rpartition(":")[2]))

    def run_claim_controller(self) -> None:
        """It makes claims from templates; only workloads with devices need it."""
        if self._claims is None:
            recorder = EventRecorder(self.client, "resource_claim", self.world)
            informers = Informers(self.client, self.world)
            self._claims = ResourceClaimController(
                Environment(self.client, informers, self.world, recorder, new_registry())
            )
            self._claims.setup()
            informers.start()
            self.tasks.start("resourceclaim-controller", self._claims.run())

    @property
    def pods(self) -> Informer:
        """The scheduler's own, as upstream's collector shares it."""
        return self._component.informers.informer(PODS)

    @property
    def table(self) -> NodeTable:
        table: NodeTable = self._component.scheduler.cache.table
        return table

    def resource(self, obj: Obj) -> Resource:
        """What an object's kind is served as. WorkloadError when it is not."""
        group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
        served = self._served.api.catalog.by_kind(group, version, str(obj.get("kind", "")))
        if served is None:
            raise WorkloadError(f"{obj.get('apiVersion')} {obj.get('kind')} is not served")
        return served.resource

    def sample(self, name: str) -> list[Any]:
        """The metric families that are called so."""
        return [family for family in self.metrics.collect() if family.name == name]
