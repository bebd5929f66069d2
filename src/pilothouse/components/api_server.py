"""kube-apiserver as a whole: its store, its certificates, its HTTPS port, and the server itself.

Data of one server, under its data directory (0700):

    store/   the embedded store, locked while a server runs on it
    pki/     ca, the serving certificate, client certificates, sa.key, front-proxy-ca and its client's certificate
    etcd.sock  the store as etcd, for processes of its owner: nothing of it is loaded before one connects
    *.kubeconfig  see `credentials`
"""

from __future__ import annotations

import logging
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from prometheus_client import CollectorRegistry

from pilothouse.apiserver.authn.service_account import Signer
from pilothouse.apiserver.bootstrap.objects import first_service_ip
from pilothouse.apiserver.http import HttpServer, server_tls
from pilothouse.apiserver.pki import kubeconfig
from pilothouse.apiserver.pki.keys import public_keys, signing_key
from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.server import ApiServer, Options
from pilothouse.etcd import embedded
from pilothouse.etcd.contract import Backend
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog, SqliteLog
from pilothouse.etcd.server.lazy import LazyService, serve_lazily
from pilothouse.etcd.server.options import SOCKET_FILE
from pilothouse.etcd.server.options import ServerOptions as EtcdOptions
from pilothouse.etcd.snapshots.backups import Backups, Schedule, Source
from pilothouse.kit.certificates import Authority, KeyPair, private_key
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

MASTERS = "system:masters"
FRONT_PROXY = "front-proxy-ca"
_FRONT_PROXY_CLIENT = "front-proxy-client"
UNSPECIFIED = ("0.0.0.0", "::")
_HOST_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
)


@dataclass(frozen=True, slots=True)
class Etcd:
    """Where an etcd cluster is, and how it knows this client: PEM files, None where there is no TLS."""

    endpoints: tuple[str, ...]
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    start_timeout_s: float = 20.0
    """How long a server waits for it when it starts."""


@dataclass(slots=True)
class Serving:
    """`data_dir` None keeps everything in memory and a temporary directory. `secure_port` of `server` 0 picks a
    free port, `listen` False opens none. Files are PEM; None means the data directory's own, made when missing."""

    data_dir: Path | None = None
    bind_address: str = "127.0.0.1"
    listen: bool = True
    certificate_dir: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    host_names: tuple[str, ...] = ()
    """Further names of the server, for its certificate."""
    client_ca_file: Path | None = None
    requestheader_ca_file: Path | None = None
    """Whose certificates make a front proxy; None for the one that is made at first start."""
    proxy_certificate_file: Path | None = None
    proxy_key_file: Path | None = None
    """What extension API servers are shown; None for one of the front proxies' CA."""
    signing_key_file: Path | None = None
    key_files: tuple[Path, ...] = ()
    """Keys whose service-account tokens are accepted beside the signing key's."""
    server: Options = field(default_factory=Options)
    etcd: Etcd | None = None
    """The cluster that keeps the data; None for the embedded store."""
    snapshots: Schedule | None = None
    """When the store is copied to files; None: only when somebody asks."""
    open_store: Callable[[World], Awaitable[Backend]] | None = None
    """Opens a store that is neither: a cluster whose members come and go while the server runs."""


class ServedApi:
    """One kube-apiserver. `start` and `stop` it; then `api`, `authority` and `url` are there."""

    def __init__(
        self, serving: Serving, world: World, metrics: CollectorRegistry, backend: Backend | None = None
    ) -> None:
        """`backend` is a store that somebody else opens and closes."""
        self._serving = serving
        self._world = world
        self._metrics = metrics
        self._temporary: Path | None = None
        self._backend = backend
        self._owns_backend = backend is None
        self._etcd: LazyService | None = None
        self._listener: HttpServer | None = None
        self._api: ApiServer | None = None
        self._authority: Authority | None = None
        self._backups = Tasks("snapshots")
        self.directory = Path()

    @property
    def api(self) -> ApiServer:
        assert self._api is not None, "the server is not started"
        return self._api

    @property
    def authority(self) -> Authority:
        assert self._authority is not None, "the server is not started"
        return self._authority

    @property
    def is_alone(self) -> bool:
        """Whether no other server can work on the same store."""
        return self._backend is None or not self._backend.shared

    @property
    def url(self) -> str:
        host = self._serving.bind_address
        if host in UNSPECIFIED:
            host = "127.0.0.1"
        return f"https://{f'[{host}]' if ':' in host else host}:{self.api.options.secure_port}"

    async def start(self) -> None:
        """Ready when it returns. StoreError when another process has the data, OSError when the port is taken or a
        directory cannot be written, ValueError for files that do not hold what they should."""
        serving = self._serving
        self.directory = self._make_directory()
        if self._backend is None:
            self._backend = await self._open_backend()
        self._authority = Authority(self.directory / "pki", self._world)
        options = self._options(self._authority)
        if serving.listen:
            self._listener = await self._bind(self._authority, options)
            options.secure_port = self._listener.port
        self._api = ApiServer(self._backend, self._world, self._signer(options), options, self._metrics)
        await self._api.start()
        if self._listener is not None:
            await self._listener.start()
        if serving.snapshots is not None:
            source = cast(Source, self._backend)
            backups = Backups(source, serving.snapshots, self._world, self._metrics)
            self._backups.start("schedule", backups.run())

    async def _open_backend(self) -> Backend:
        serving = self._serving
        if serving.open_store is not None:
            return await serving.open_store(self._world)
        if serving.etcd is not None:
            # gRPC is imported for those alone who need it.
            from pilothouse.components.etcd import open_cluster

            return await open_cluster(serving.etcd, self._world)
        if serving.data_dir is None:
            return await open_backend(self._world, NoLog())
        backend = await open_backend(self._world, SqliteLog(self.directory / embedded.DIRECTORY))
        await self._open_etcd_socket(backend)
        return backend

    async def _open_etcd_socket(self, backend: EmbeddedBackend) -> None:
        """A disk that is full, or a path that is too long for a socket, must not stop the cluster."""
        path = self.directory / SOCKET_FILE
        service = serve_lazily(path, backend, backend, self._world, EtcdOptions())
        try:
            await service.start()
        except OSError as error:
            log.warning(
                "cannot open %s: %s; pilothouse etcd does not reach this store while it runs", path, error
            )
            return
        self._etcd = service

    def _make_directory(self) -> Path:
        if self._serving.data_dir is not None:
            self._serving.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._serving.data_dir
        self._temporary = Path(tempfile.mkdtemp(prefix="pilothouse-"))
        return self._temporary

    def _options(self, authority: Authority) -> Options:
        serving = self._serving
        client_ca = authority.pem
        if serving.client_ca_file is not None:
            client_ca += serving.client_ca_file.read_text()
        address = serving.server.advertise_address or serving.bind_address
        if address in UNSPECIFIED:
            address = _own_address(address)
        proxy_ca, proxy = self._front_proxy()
        return replace(
            serving.server,
            client_ca_pem=client_ca,
            advertise_address=address,
            requestheader_ca_pem=proxy_ca,
            proxy_certificate=proxy,
        )

    def _front_proxy(self) -> tuple[str, KeyPair | None]:
        """Whom this server trusts as a front proxy, and what it is one with. A CA of somebody else's signs no
        certificate for us: without files, extension API servers are shown none then."""
        serving, proxy = self._serving, None
        if serving.proxy_certificate_file is not None and serving.proxy_key_file is not None:
            proxy = KeyPair(serving.proxy_certificate_file, serving.proxy_key_file)
        if serving.requestheader_ca_file is not None:
            return serving.requestheader_ca_file.read_text(), proxy
        own = Authority(self.directory / "pki", self._world, FRONT_PROXY, FRONT_PROXY)
        return own.pem, proxy or own.client(_FRONT_PROXY_CLIENT, _FRONT_PROXY_CLIENT)

    async def _bind(self, authority: Authority, options: Options) -> HttpServer:
        """Take the port before anything else is done: a port that is taken is the likeliest failure."""
        serving = self._serving
        pair = self._pair(authority, options)
        tls = server_tls(
            str(pair.certificate), str(pair.key), options.client_ca_pem + options.requestheader_ca_pem
        )
        listener = HttpServer(self._handle, tls, host=serving.bind_address, port=options.secure_port)
        try:
            await listener.bind()
        except OSError as error:
            raise OSError(
                f"cannot listen on {serving.bind_address}:{options.secure_port}: {error.strerror or error}; "
                "choose another --secure-port (0 picks a free one)"
            ) from error
        return listener

    def _pair(self, authority: Authority, options: Options) -> KeyPair:
        serving = self._serving
        if serving.certificate_file is not None and serving.key_file is not None:
            return KeyPair(serving.certificate_file, serving.key_file)
        hosts = [*_HOST_NAMES, options.advertise_address, *serving.host_names]
        if serving.bind_address not in UNSPECIFIED:
            hosts.append(serving.bind_address)
        hosts += [first_service_ip(part) for part in options.service_range.split(",")]
        return authority.server("apiserver", hosts, serving.certificate_dir)

    def _signer(self, options: Options) -> Signer:
        serving = self._serving
        if serving.signing_key_file is not None:
            own = private_key(serving.signing_key_file)
        else:
            own = signing_key(self.directory / "pki" / "sa.key")
        others = [public for path in serving.key_files for public in public_keys(path)]
        return Signer(own, options.issuers[0], self._world, others)

    def _handle(self, request: Request) -> Awaitable[Response]:
        return self.api.handle(request)

    def write_kubeconfig(self, path: Path, certificate: str, user: str, groups: tuple[str, ...] = ()) -> None:
        """A kubeconfig with a client certificate of the cluster's CA, which is kept under the name `certificate`."""
        pair = self.authority.client(certificate, user, groups)
        kubeconfig.write(path, self.url, self._server_ca(), user, pair)

    def _server_ca(self) -> str:
        """What clients check the server with: a certificate of somebody else's is trusted itself."""
        if self._serving.certificate_file is not None:
            return self._serving.certificate_file.read_text() + self.authority.pem
        return self.authority.pem

    async def close_doors(self) -> None:
        """End connections and the server's own work; the store stays open."""
        if self._api is not None:
            await self._api.stop()
        if self._listener is not None:
            await self._listener.stop()
        if self._etcd is not None:
            await self._etcd.stop()

    async def stop(self) -> None:
        """Stop everything, the store last; what was acknowledged is on the disk."""
        try:
            await self.close_doors()
            await self._backups.stop()
        finally:
            if self._backend is not None and self._owns_backend:
                await self._backend.close()
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)


def _own_address(unspecified: str) -> str:
    """The address of this host that leads outside; the loopback address without a network."""
    v6 = ":" in unspecified
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("2001:db8::1" if v6 else "192.0.2.1", 9))
        except OSError:
            return "::1" if v6 else "127.0.0.1"
        return str(probe.getsockname()[0])
