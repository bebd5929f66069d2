"""A whole control plane in one process: the map of how the rooms fit together.

    store ◀── API server ◀── HTTPS        people, kubectl, other programs
                  ▲
                  └── in-process transport ◀── controllers, scheduler, simulated nodes

Every component comes in by the front door under its own identity; only the transport is short.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from pilothouse.apiserver.authn.service_account import Signer, user_info
from pilothouse.apiserver.bootstrap.objects import first_service_ip
from pilothouse.apiserver.http import HttpServer, server_tls
from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.pki import kubeconfig
from pilothouse.apiserver.pki.certificates import Authority, signing_key
from pilothouse.apiserver.request import Request, Response, UserInfo
from pilothouse.apiserver.server import ApiServer, Options
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.resource_client import ResourceClient
from pilothouse.controllers.manager import Manager, Settings
from pilothouse.controllers.reconciler import Environment
from pilothouse.etcd.contract import Backend
from pilothouse.etcd.embedded.backend import open_backend
from pilothouse.etcd.embedded.log import Log, NoLog, SqliteLog
from pilothouse.kit.world import World
from pilothouse.nodes.fleet import Fleet
from pilothouse.nodes.kubelet_api import KubeletApi
from pilothouse.scheduler.scheduler import Scheduler

log = logging.getLogger(__name__)

MASTERS = "system:masters"
_HOST_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
)


@dataclass(slots=True)
class ClusterOptions:
    """`data_dir` None keeps everything in memory and a temporary directory. `secure_port` 0 picks a free port;
    None opens none. `nodes` are simulated."""

    data_dir: Path | None = None
    bind_address: str = "127.0.0.1"
    secure_port: int | None = 6443
    nodes: int = 3
    kubeconfig: Path | None = None
    controllers: tuple[str, ...] = ("*",)
    stages: tuple[Path, ...] = ()
    node_events: str = "warnings"
    server: Options = field(default_factory=Options)


class Cluster:
    """Start it, use `client()` or the kubeconfig, stop it."""

    def __init__(self, options: ClusterOptions | None = None, world: World | None = None) -> None:
        self.options = options or ClusterOptions()
        self.world = world or World()
        self.metrics = CollectorRegistry(auto_describe=True)
        self.kubeconfig: Path | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closers: list[Callable[[], object]] = []
        self._temporary: Path | None = None
        self._backend: Backend | None = None
        self._api: ApiServer | None = None
        self._http: HttpServer | None = None
        self._informers: list[Informers] = []

    @property
    def api(self) -> ApiServer:
        assert self._api is not None, "the cluster is not started"
        return self._api

    @property
    def server_url(self) -> str:
        host = self.options.bind_address
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1"
        return f"https://{f'[{host}]' if ':' in host else host}:{self.api.options.secure_port}"

    async def start(self) -> None:
        """Ready when it returns. StoreError when another process has the data, OSError when the port is taken."""
        directory = self._directory()
        authority = Authority(directory / "pki", self.world)
        await self._start_server(directory, authority)
        self._write_kubeconfig(directory, authority)
        self._start_components(authority.pem)

    def _directory(self) -> Path:
        if self.options.data_dir is not None:
            self.options.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self.options.data_dir
        self._temporary = Path(tempfile.mkdtemp(prefix="pilothouse-"))
        return self._temporary

    async def _start_server(self, directory: Path, authority: Authority) -> None:
        options = self.options
        durable: Log = SqliteLog(directory / "store") if options.data_dir is not None else NoLog()
        self._backend = await open_backend(self.world, durable)
        listener = None
        server_options = replace(options.server, client_ca_pem=authority.pem)
        if options.bind_address not in ("0.0.0.0", "::"):
            server_options.advertise_address = options.bind_address
        if options.secure_port is not None:
            hosts = [*_HOST_NAMES, options.bind_address, first_service_ip(server_options.service_range)]
            pair = authority.server("apiserver", hosts)
            tls = server_tls(str(pair.certificate), str(pair.key), str(authority.files.certificate))
            listener = HttpServer(self._handle, tls, host=options.bind_address, port=options.secure_port)
            await listener.bind()
            server_options.secure_port = listener.port
        signer = Signer(signing_key(directory / "pki" / "sa.key"), server_options.issuer, self.world)
        self._api = ApiServer(self._backend, self.world, signer, server_options, self.metrics)
        await self._api.start()
        if listener is not None:
            await listener.start()
            self._http = listener

    def _handle(self, request: Request) -> Awaitable[Response]:
        return self.api.handle(request)

    def _write_kubeconfig(self, directory: Path, authority: Authority) -> None:
        if self.options.secure_port is None:
            return
        admin = authority.client("admin", "kubernetes-admin", (MASTERS,))
        self.kubeconfig = self.options.kubeconfig or directory / "kubeconfig"
        kubeconfig.write(self.kubeconfig, self.server_url, authority.pem, "kubernetes-admin", admin)

    # -- components -------------------------------------------------------------------------------------

    def client(self, user: str = "kubernetes-admin", groups: tuple[str, ...] = (MASTERS,)) -> ResourceClient:
        """A client in this process, acting as `user`."""
        info = UserInfo(user, "", (*groups, "system:authenticated"))
        return ResourceClient(InProcessTransport(self.api.handle, info, user.rpartition(":")[2]))

    def _account_client(self, account: str) -> ResourceClient:
        info = user_info("kube-system", account, "")
        known = UserInfo(info.name, "", (*info.groups, "system:authenticated"))
        return ResourceClient(InProcessTransport(self.api.handle, known, "kube-controller-manager"))

    def _informers_for(self, client: ResourceClient) -> Informers:
        informers = Informers(client, self.world)
        self._informers.append(informers)
        return informers

    def _start_components(self, root_ca: str) -> None:
        self._start_controllers(root_ca)
        self._start_scheduler()
        self._start_nodes()

    def _start_controllers(self, root_ca: str) -> None:
        shared = self._informers_for(self.client("system:kube-controller-manager", ()))

        def environment(account: str) -> Environment:
            client = self._account_client(account)
            recorder = EventRecorder(client, account, self.world)
            self._run(recorder.run(), f"events of {account}")
            return Environment(client, shared, self.world, recorder, self.metrics)

        settings = Settings(root_ca, self.api.signer.legacy)
        manager = Manager(environment, settings, self.options.controllers)
        shared.start()
        self._run(manager.run(), "kube-controller-manager")

    def _start_scheduler(self) -> None:
        client = self.client("system:kube-scheduler", ())
        informers = self._informers_for(client)
        recorder = EventRecorder(client, "default-scheduler", self.world, modern=True)
        scheduler = Scheduler(client, informers, self.world, recorder=recorder, metrics=self.metrics)
        informers.start()
        self._run(recorder.run(), "events of kube-scheduler")
        self._run(scheduler.run(), "kube-scheduler")

    def _start_nodes(self) -> None:
        client = self.client("system:nodes:simulated", (MASTERS,))
        informers = self._informers_for(client)
        recorder = EventRecorder(client, "kubelet", self.world)
        fleet = Fleet(
            client, informers, self.world, recorder, count=self.options.nodes, events=self.options.node_events
        )
        self.api.kubelets = KubeletApi(fleet, self.world)
        informers.start()
        self._run(recorder.run(), "events of nodes")
        self._run(fleet.run(), "simulated nodes")

    def _run(self, work, name: str) -> None:  # type: ignore[no-untyped-def]
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(_report_crash)
        self._tasks.append(task)

    async def stop(self) -> None:
        """Stop everything, the store last; what was acknowledged is on the disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for informers in self._informers:
            await informers.stop()
        if self._api is not None:
            await self._api.stop()
        if self._http is not None:
            await self._http.stop()
        if self._backend is not None:
            await self._backend.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    async def __aenter__(self) -> Cluster:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()


def _report_crash(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("%s ended", task.get_name(), exc_info=task.exception())
