"""The yardstick: an aiohttp handler over TLS that reads what it is sent and answers with a body of a given size.

python -m benchmarks.bare CERTIFICATE KEY     prints its port; GET or POST /SIZE answers SIZE bytes
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import uvloop
from aiohttp import web

_bodies: dict[str, bytes] = {}


async def _answer(request: web.BaseRequest) -> web.Response:
    if request.can_read_body:
        await request.read()
    size = request.path[1:]
    body = _bodies.get(size)
    if body is None:
        body = _bodies[size] = b"x" * int(size)
    return web.Response(body=body, content_type="application/json")


async def serve(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    runner = web.ServerRunner(web.Server(_answer, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
