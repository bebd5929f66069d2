"""Plain HTTP on the client port: /health, /readyz, /livez, /version, /metrics and the JSON gateway (etcd: etcdhttp)."""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from pilothouse.etcd.contract import API_VERSION
from pilothouse.etcd.server.core import Core
from pilothouse.etcd.server.gateway import Gateway
from pilothouse.etcd.server.services import Bound

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_SHUTDOWN_S = 1.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpApp:
    """The application, on as many listeners as need be."""

    def __init__(self, core: Core, bound: dict[str, Bound]) -> None:
        self._core = core
        self._runner = self._make_runner([*self._operations(), *self._gateway(core, bound)])
        self._operations_only = self._make_runner(self._operations())

    def _make_runner(self, routes: list[web.RouteDef]) -> web.AppRunner:
        app = web.Application(client_max_size=self._core.options.request_bytes_max * 2)
        app.add_routes(routes)
        return web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_S,
            handle_signals=False,
        )

    def _operations(self) -> list[web.RouteDef]:
        return [
            web.get("/health", self._health),
            web.get("/livez", self._live),
            web.get("/readyz", self._ready),
            web.get("/version", self._version),
            web.get("/metrics", self._metrics),
        ]

    @staticmethod
    def _gateway(core: Core, bound: dict[str, Bound]) -> list[web.RouteDef]:
        gateway = Gateway(core, bound)
        return [web.post(path, handler) for path, handler in gateway.routes()]

    async def start(self) -> None:
        await self._runner.setup()
        await self._operations_only.setup()

    async def listen_unix(self, path: Path, tls: ssl.SSLContext | None = None) -> None:
        await web.UnixSite(self._runner, str(path), ssl_context=tls).start()

    async def listen_for_metrics(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Health and metrics alone, on a port of their own."""
        await web.TCPSite(self._operations_only, host, port, ssl_context=tls).start()

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self._operations_only.cleanup()

    # -- operations -------------------------------------------------------------------------------------

    async def _health(self, request: web.Request) -> web.Response:
        """{"health":"true","reason":""}, or 503 and the reason."""
        reason = await self._core.backend.health()
        excluded = request.query.getall("exclude", [])
        alarms = [] if reason else await self._alarms(excluded)
        reason = reason or (f"ALARM {alarms[0]}" if alarms else "")
        body = {"health": "false" if reason else "true", "reason": reason}
        return web.json_response(body, status=503 if reason else 200, dumps=_compact)

    async def _alarms(self, excluded: list[str]) -> list[str]:
        """Alarms that count, by name: what the store says of itself is "NOSPACE" or a sentence."""
        status = await self._core.maintenance.status()
        return [text for text in status.errors if not any(name in text for name in excluded)]

    async def _live(self, request: web.Request) -> web.Response:
        return self._checked(request, {"serializable_read": ""})

    async def _ready(self, request: web.Request) -> web.Response:
        reason = await self._core.backend.health()
        return self._checked(
            request, {"data_corruption": "", "linearizable_read": reason, "serializable_read": ""}
        )

    @staticmethod
    def _checked(request: web.Request, checks: dict[str, str]) -> web.Response:
        """As etcd 3.6: one line for each check with ?verbose or on failure, else "ok"."""
        excluded = request.query.getall("exclude", [])
        checks = {name: reason for name, reason in checks.items() if name not in excluded}
        failed = any(checks.values())
        lines = [
            f"[+]{name} ok" if not reason else f"[-]{name} failed: {reason}"
            for name, reason in checks.items()
        ]
        if failed:
            return web.Response(text="\n".join(lines) + "\n", status=503)
        return web.Response(text="\n".join([*lines, "ok"]) + "\n" if "verbose" in request.query else "ok\n")

    async def _version(self, request: web.Request) -> web.Response:
        major_minor = ".".join(API_VERSION.split(".")[:2])
        body = {"etcdserver": API_VERSION, "etcdcluster": f"{major_minor}.0", "storage": f"{major_minor}.0"}
        return web.json_response(body, dumps=_compact)

    async def _metrics(self, request: web.Request) -> web.Response:
        text = await self._core.metrics.text(self._core.backend, self._core.maintenance)
        return web.Response(body=text, headers={"Content-Type": _TEXT})


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
