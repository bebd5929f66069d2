"""The API behind private sockets: gRPC and the HTTP application, with TLS and without. `front` brings connections."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from pathlib import Path

import grpc

from pilothouse.etcd.contract import Backend, Maintenance
from pilothouse.etcd.embedded.backend import EmbeddedBackend
from pilothouse.etcd.server.core import Core, NoGuard, make_headers
from pilothouse.etcd.server.front import Protocol
from pilothouse.etcd.server.http import HttpApp
from pilothouse.etcd.server.metrics import Metrics
from pilothouse.etcd.server.options import ServerOptions, TlsFiles
from pilothouse.etcd.server.rpc import make_server
from pilothouse.etcd.server.services import bind
from pilothouse.kit.world import World

_GRACE_S = 0.5
"""What a call in progress has at the end."""


class EtcdService:
    """`start` and `stop` it; `socket` says where a protocol is served."""

    def __init__(
        self, backend: Backend, maintenance: Maintenance, world: World, options: ServerOptions
    ) -> None:
        self._backend = backend
        self._maintenance = maintenance
        self._world = world
        self._options = options
        self._directory = Path()
        self._grpc: grpc.aio.Server | None = None
        self._http: HttpApp | None = None
        self._core: Core | None = None

    @property
    def core(self) -> Core:
        assert self._core is not None, "the server is not started"
        return self._core

    @property
    def http(self) -> HttpApp:
        assert self._http is not None, "the server is not started"
        return self._http

    def socket(self, protocol: Protocol, tls: bool) -> str:
        return str(self._directory / f"{protocol.value}{'-tls' if tls else ''}.sock")

    async def start(self) -> None:
        """ValueError for TLS files that do not hold what they should."""
        headers = await make_headers(self._backend, self._maintenance, self._world)
        metrics = Metrics(self._options.quota_bytes)
        if isinstance(self._backend, EmbeddedBackend):
            self._backend.on_commit = metrics.commit_seconds.observe
        core = Core(self._backend, self._maintenance, self._world, self._options, headers, metrics, NoGuard())
        self._core = core
        self._services, bound = bind(core)
        for service in self._services:
            await service.start()
        self._directory = Path(tempfile.mkdtemp(prefix="pilothouse-etcd-"))  # 0700
        self._http = HttpApp(core, bound)
        self._grpc = make_server(core, bound)
        await self._http.start()
        await self._listen(self._http, self._grpc)
        await self._grpc.start()

    async def _listen(self, http: HttpApp, rpc: grpc.aio.Server) -> None:
        await http.listen_unix(Path(self.socket(Protocol.HTTP, False)))
        rpc.add_insecure_port("unix:" + self.socket(Protocol.GRPC, False))
        tls = self._options.tls
        if tls is not None:
            await http.listen_unix(Path(self.socket(Protocol.HTTP, True)), tls_context(tls))
            rpc.add_secure_port("unix:" + self.socket(Protocol.GRPC, True), _credentials(tls))

    async def stop(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop(_GRACE_S)
        if self._http is not None:
            await self._http.stop()
        if self._core is not None:
            for service in self._services:
                await service.stop()
            shutil.rmtree(self._directory, ignore_errors=True)


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """For the HTTP application. ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as error:
        raise ValueError(
            f"cannot use the TLS files {files.certificate}, {files.key}, {files.client_ca or 'no CA'}: {error}; "
            "they must be PEM, and the key the certificate's"
        ) from error
    return context


def _credentials(files: TlsFiles) -> grpc.ServerCredentials:
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    ca = files.client_ca.read_bytes() if files.client_ca is not None else None
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)
