"""The HTTPS port of a component that runs alone: health and metrics, guarded by the API server.

Who asks is found by TokenReview or a client certificate, what they may by SubjectAccessReview, as upstream's
delegated authentication and authorization (k8s.io/apiserver/pkg/server/options); the health paths need neither.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from prometheus_client import CollectorRegistry, generate_latest

from pilothouse.api import errors
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver import request_info
from pilothouse.apiserver.authn.chain import bearer_token, with_group
from pilothouse.apiserver.authn.x509 import ClientCertificates
from pilothouse.apiserver.authz.rbac import MASTERS
from pilothouse.apiserver.endpoints import render
from pilothouse.apiserver.endpoints.health import Check, Health
from pilothouse.apiserver.http import HttpServer, server_tls
from pilothouse.apiserver.pipeline import refusal
from pilothouse.apiserver.request import ANONYMOUS, Request, Response, UserInfo
from pilothouse.client.client import Client
from pilothouse.kit.certificates import Authority, KeyPair
from pilothouse.kit.world import World

_TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)
_ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)
_REMEMBER_S = 10.0
_REMEMBER_MAX = 1024
_TEXT = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}

Answer = Callable[[Request], Response]
Tree = Callable[[str], bytes]
"""Answers a path below its own with a JSON document."""


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """`port` 0 serves nothing, as upstream. Files are PEM; without them a certificate is made for this run."""

    name: str
    bind_address: str = "0.0.0.0"
    port: int = 0
    certificate_dir: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    open_paths: tuple[str, ...] = ("/healthz", "/readyz", "/livez")


class Endpoint:
    """`tokens` and `access` ask the API server whose a token is and what a user may. Without the first every request
    is anonymous, without the second only the open paths are served. `readiness` are checks for /readyz alone, `pages`
    JSON documents by path, `trees` those whose path goes on after the key: they are given the rest, and may raise
    ApiError, as may `answers`, which see the request. Checks may be added to `checks` while it serves."""

    def __init__(
        self,
        options: EndpointOptions,
        world: World,
        metrics: CollectorRegistry,
        checks: dict[str, Check],
        tokens: Client | None,
        access: Client | None,
        *,
        readiness: dict[str, Check] | None = None,
        pages: Mapping[str, Callable[[], bytes]] | None = None,
        trees: Mapping[str, Tree] | None = None,
        answers: Mapping[str, Answer] | None = None,
    ) -> None:
        self._options = options
        self._world = world
        self._metrics = metrics
        self._tokens = Reviews(tokens, world) if tokens is not None else None
        self._access = Reviews(access, world) if access is not None else None
        self._health = Health(checks, readiness or {})
        self._pages = pages or {}
        self._trees = trees or {}
        self._answers = answers or {}
        self._certificates: ClientCertificates | None = None
        self._server: HttpServer | None = None

    async def start(self) -> None:
        """OSError when the port is taken."""
        options = self._options
        if not options.port:
            return
        with tempfile.TemporaryDirectory(prefix="pilothouse-") as directory:
            authority = Authority(Path(directory), self._world)
            pair = self._pair(authority)
            ca = options.client_ca_file.read_text() if options.client_ca_file is not None else ""
            if ca:
                self._certificates = ClientCertificates(
                    self._world, x509.load_pem_x509_certificates(ca.encode())
                )
            tls = server_tls(str(pair.certificate), str(pair.key), ca or authority.pem)
        self._server = HttpServer(self._serve, tls, host=options.bind_address, port=options.port)
        try:
            await self._server.start()
        except OSError as error:
            raise OSError(
                f"cannot listen on {options.bind_address}:{options.port}: {error.strerror or error}; "
                "choose another --secure-port (0 serves nothing)"
            ) from error

    def _pair(self, authority: Authority) -> KeyPair:
        options = self._options
        if options.certificate_file is not None and options.key_file is not None:
            return KeyPair(options.certificate_file, options.key_file)
        return authority.server(options.name, ["localhost", "127.0.0.1"], options.certificate_dir)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()

    async def _serve(self, request: Request) -> Response:
        request.info = request_info.parse(request.method, request.path, request.query)
        try:
            await self._admit(request)
            return await self._handler(request.path)(request)
        except errors.ApiError as failure:
            return render.error(failure, request)

    async def _admit(self, request: Request) -> None:
        if any(
            request.path == path or request.path.startswith(f"{path}/") for path in self._options.open_paths
        ):
            return
        user = await self._user(request)
        if MASTERS in user.groups:
            return
        allowed = self._access is not None and await self._access.allows(user, request)
        if not allowed:
            raise refusal(user, request.info, "")

    async def _user(self, request: Request) -> UserInfo:
        if request.peer_certificate is not None and self._certificates is not None:
            known = self._certificates.authenticate(request.peer_certificate)
            if known is not None:
                return with_group(known)
        token = bearer_token(request)
        if not token or self._tokens is None:
            return ANONYMOUS
        user = await self._tokens.user(token)
        if user is None:
            raise errors.unauthorized()
        return user

    def _handler(self, path: str) -> Callable[[Request], Awaitable[Response]]:
        if self._health.handles(path):
            return self._health.handle
        if path == "/metrics":
            return self._serve_metrics
        if path in self._pages:
            return self._serve_page
        if path in self._answers:
            return self._serve_answer
        if any(path.startswith(root) for root in self._trees):
            return self._serve_tree
        return _not_found

    async def _serve_metrics(self, request: Request) -> Response:
        return Response(200, generate_latest(self._metrics), dict(_TEXT))

    async def _serve_page(self, request: Request) -> Response:
        return Response(200, self._pages[request.path](), {"Content-Type": "application/json"})

    async def _serve_answer(self, request: Request) -> Response:
        return self._answers[request.path](request)

    async def _serve_tree(self, request: Request) -> Response:
        root = next(root for root in self._trees if request.path.startswith(root))
        body = self._trees[root](request.path.removeprefix(root))
        return Response(200, body, {"Content-Type": "application/json"})


async def _not_found(request: Request) -> Response:
    return Response(404, b"404 page not found\n", dict(_TEXT))


class Reviews:
    """What the API server says of tokens and access, remembered for ten seconds (upstream's default)."""

    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world
        self._users: OrderedDict[str, tuple[float, UserInfo | None]] = OrderedDict()
        self._answers: OrderedDict[tuple[str, tuple[str, ...], str, str], tuple[float, bool]] = OrderedDict()

    async def user(self, token: str) -> UserInfo | None:
        """Whose token it is; None for nobody's."""
        known = self._users.get(token)
        if known is not None and known[0] > self._world.clock.monotonic():
            return known[1]
        body: Obj = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "metadata": {},
            "spec": {"token": token},
        }
        status = (await self._ask(_TOKEN_REVIEWS, body))["status"]
        found = None
        if status.get("authenticated"):
            said = status["user"]
            found = UserInfo(said["username"], said.get("uid", ""), tuple(said.get("groups") or ()))
        self._users[token] = self._world.clock.monotonic() + _REMEMBER_S, found
        _trim(self._users)
        return found

    async def allows(self, user: UserInfo, request: Request) -> bool:
        verb = request.info.verb
        key = (user.name, user.groups, verb, request.path)
        known = self._answers.get(key)
        if known is not None and known[0] > self._world.clock.monotonic():
            return known[1]
        spec: Obj = {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "nonResourceAttributes": {"path": request.path, "verb": verb},
        }
        body: Obj = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": spec,
        }
        allowed = bool((await self._ask(_ACCESS_REVIEWS, body))["status"].get("allowed"))
        self._answers[key] = self._world.clock.monotonic() + _REMEMBER_S, allowed
        _trim(self._answers)
        return allowed

    async def _ask(self, resource: Resource, body: Obj) -> Obj:
        try:
            return await self._client.create(resource, body)
        except (errors.ApiError, ConnectionError) as error:
            raise errors.internal(f"the API server did not answer: {error}") from error


def _trim(remembered: OrderedDict[Any, Any]) -> None:
    while len(remembered) > _REMEMBER_MAX:
        remembered.popitem(last=False)


def check(problem: Callable[[], str]) -> Check:
    """A health check of a function that tells what is wrong."""

    async def run() -> str:
        return problem()

    return run
