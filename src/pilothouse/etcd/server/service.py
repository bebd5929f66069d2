"""The API: services, gRPC and the HTTP application. `port` brings connections."""

from __future__ import annotations

import asyncio
import ssl

from pilothouse.etcd.contract import Backend, Maintenance
from pilothouse.etcd.embedded.backend import EmbeddedBackend
from pilothouse.etcd.server.alarms import Alarms, Quota, SpaceGuard
from pilothouse.etcd.server.auth.guard import AuthGuard
from pilothouse.etcd.server.auth.passwords import Passwords
from pilothouse.etcd.server.auth.store import open_auth
from pilothouse.etcd.server.auth.tokens import tokens_of
from pilothouse.etcd.server.core import Core, make_headers
from pilothouse.etcd.server.guards import Guards
from pilothouse.etcd.server.http import HttpApp
from pilothouse.etcd.server.http2.server import GrpcServer
from pilothouse.etcd.server.metrics import Metrics
from pilothouse.etcd.server.options import ServerOptions, TlsFiles
from pilothouse.etcd.server.rpc import make_server
from pilothouse.etcd.server.services import bind
from pilothouse.kit.world import World

_GRACE_S = 0.5
"""What a call in progress has at the end."""


class EtcdService:
    """`start` and `stop` it; in between it answers connections (`port.Answering`)."""

    def __init__(
        self, backend: Backend, maintenance: Maintenance, world: World, options: ServerOptions
    ) -> None:
        self._backend = backend
        self._maintenance = maintenance
        self._world = world
        self._options = options
        self._grpc: GrpcServer | None = None
        self._http: HttpApp | None = None
        self._core: Core | None = None

    @property
    def core(self) -> Core:
        assert self._core is not None, "the server is not started"
        return self._core

    @property
    def pages(self) -> HttpApp:
        assert self._http is not None, "the server is not started"
        return self._http

    def http(self) -> asyncio.Protocol:
        return self.pages.connection()

    def grpc(self, common_name: str) -> asyncio.Protocol:
        assert self._grpc is not None, "the server is not started"
        return self._grpc.connection(common_name)

    async def start(self) -> None:
        """ValueError for TLS and token files that do not hold what they should."""
        core = self._core = await make_core(self._backend, self._maintenance, self._world, self._options)
        self._services, bound = bind(core)
        for service in self._services:
            await service.start()
        self._http = HttpApp(core, bound)
        self._grpc = make_server(core, bound)
        await self._http.start()

    async def stop(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop(_GRACE_S)
        if self._http is not None:
            await self._http.stop()
        if self._core is not None:
            for service in self._services:
                await service.stop()
            self._core.auth.close()


async def make_core(backend: Backend, kept: Maintenance, world: World, options: ServerOptions) -> Core:
    """What the services share, with what was kept of it. ValueError for token files that do not hold what they
    should."""
    tokens = tokens_of(options.auth_token, world, options.auth_token_ttl_s)
    passwords = Passwords(options.bcrypt_cost)
    auth = await open_auth(kept, tokens, passwords, certificates=options.certificates_name_users)
    headers = await make_headers(backend, kept, world)
    alarms, quota = Alarms(kept), Quota(kept, options.quota_bytes)
    await alarms.start()
    metrics = Metrics(quota.limit_bytes)
    if isinstance(backend, EmbeddedBackend):
        backend.on_commit = metrics.commit_seconds.observe
    guard = Guards(AuthGuard(auth, backend), SpaceGuard(alarms, quota, headers.member_id))
    return Core(backend, kept, world, options, headers, metrics, alarms, quota, auth, guard)


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """HTTP/1.1 is preferred: a client that offers both protocols is no gRPC client. ValueError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1", "h2"])
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
