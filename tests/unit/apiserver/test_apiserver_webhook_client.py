"""Webhooks are asked as Go's client asks them, by a real HTTPS server."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pilothouse.apiserver.registry.cached_lister import CachedLister
from pilothouse.apiserver.webhook_client import WebhookClient, WebhookError
from pilothouse.kit.certificates import Authority
from pilothouse.kit.world import World


@asynccontextmanager
async def served(directory: Path, handler: Any, *hosts: str) -> AsyncIterator[dict[str, Any]]:
    """The clientConfig of a webhook."""
    authority = Authority(directory, World())
    pair = authority.server("webhook", hosts or ["127.0.0.1"], directory)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.certificate, pair.key)
    app = web.Application()
    app.router.add_post("/hook", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    bundle = base64.b64encode(authority.pem.encode()).decode()
    try:
        yield {"url": f"https://127.0.0.1:{runner.addresses[0][1]}/hook", "caBundle": bundle}
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client() -> AsyncIterator[WebhookClient]:
    made = WebhookClient(CachedLister())
    try:
        yield made
    finally:
        await made.close()


async def test_an_answer_in_pieces_is_read_to_its_end(tmp_path: Path) -> None:
    piece = b"x" * 100_000

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(5):
            await response.write(piece)
            await asyncio.sleep(0.01)
        return response

    async with served(tmp_path, handler) as config, client() as webhooks:
        assert await webhooks.post(config, b"{}", 5.0) == piece * 5


async def test_a_webhook_is_told_how_long_it_has(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=request.query_string)

    async with served(tmp_path, handler) as config, client() as webhooks:
        assert await webhooks.post(config, b"{}", 7.0, tell_timeout=True) == b"timeout=7s"
        config["url"] += "?a=b"
        assert await webhooks.post(config, b"{}", 7.0, tell_timeout=True) == b"a=b&timeout=7s"


async def test_a_kept_connection_that_was_closed_is_no_failure(tmp_path: Path) -> None:
    """The second request on a connection finds nobody there any more."""
    used: list[asyncio.Transport] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        if request.transport in used:
            end = request.transport.abort if len(used) % 2 else request.transport.close
            end()
        used.append(request.transport)
        return web.Response(text="answered")

    async with served(tmp_path, handler) as config, client() as webhooks:
        for _ in range(4):
            assert await webhooks.post(config, b"{}", 5.0) == b"answered"
        assert len(used) > 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (404, "the server could not find the requested resource"),
        (403, "not you"),
        (500, 'an error on the server ("not you") has prevented the request from succeeding'),
        (503, "the server is currently unable to handle the request"),
    ],
)
async def test_an_answer_that_is_none(tmp_path: Path, code: int, text: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=code, text="not you")

    async with served(tmp_path, handler) as config, client() as webhooks:
        with pytest.raises(WebhookError) as caught:
            await webhooks.post(config, b"{}", 5.0)
        assert (str(caught.value), caught.value.code) == (text, code)


async def test_bundles_that_do_not_know_the_server(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    prefix = r'^Post "https://127.0.0.1:\d+/hook": '
    async with served(tmp_path, handler) as config, client() as webhooks:
        other = base64.b64encode(Authority(tmp_path / "other", World()).pem.encode()).decode()
        unknown = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
        with pytest.raises(WebhookError, match=prefix + unknown):
            await webhooks.post({**config, "caBundle": other}, b"{}", 5.0)
        with pytest.raises(
            WebhookError, match="unable to load root certificates: unable to parse bytes as PEM block"
        ):
            await webhooks.post({**config, "caBundle": "bm90aGluZw=="}, b"{}", 5.0)
    async with served(tmp_path / "named", handler, "elsewhere.example.com") as config, client() as webhooks:
        with pytest.raises(WebhookError, match=f"{prefix}tls: failed to verify certificate: x509: "):
            await webhooks.post(config, b"{}", 5.0)
