"""A load generator that costs little: raw HTTP/1.1 over TLS, requests made beforehand, answers counted.

It speaks only what the benchmarks need: answers have a Content-Length, or are chunked watch streams of which
nothing but the number of events is of interest. Run it in a process of its own: `python -m benchmarks.http_load`
reads one JSON order a line on its standard input and answers with one JSON line each.

    {"do": "requests", "host", "port", "token", "connections": 64, "seconds": 3, "method", "path", "body", "type"}
    {"do": "watch", "host", "port", "token", "watchers": 100, "path", "seconds", "write": {…a requests order…}}

In `path` and `body` the text `%N%` is replaced by a number that no other request of the run has.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import ssl
import sys
import time
from typing import Any, cast

import uvloop

_NUMBER = b"%N%"
SETTLE_S = 0.5
"""What watchers get before the first write: time for their answers' heads and the events of what exists."""
PATIENCE_S = 120.0


class Answers(asyncio.Protocol):
    """One connection that keeps one request on its way, for as long as `more` gives another."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._head = b""
        self._left = -1
        self._began_s = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._next()

    def _next(self) -> None:
        assert self._transport is not None
        request = self._load.next_request()
        if request is None:
            self._transport.close()
            return
        self._began_s = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._head[:end]
            self._left = _content_length(head) - (len(self._head) - end - 4)
            self._load.status(int(head[9:12]))
            self._head = b""
        else:
            self._left -= len(data)
        if self._left == 0:
            self._left = -1
            self._load.done(time.perf_counter() - self._began_s)
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost()


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    if at < 0:
        raise ValueError(f"an answer without Content-Length: {head!r}")
    return int(head[at + 15 : (head + b"\r\n").find(b"\r\n", at)])


class Load:
    """Closed loop: every connection sends its next request when the last was answered."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._until_s = 0.0
        self._numbers = itertools.count(int(order.get("first", 0)))
        self._template = _request(order)
        self._numbered = _NUMBER in self._template[0] or _NUMBER in self._template[1]
        self._whole = _join(*self._template)
        self._open = 0
        self._closed = asyncio.Event()
        self.latencies_s: list[float] = []
        self.statuses: dict[int, int] = {}

    def next_request(self) -> bytes | None:
        if time.perf_counter() >= self._until_s:
            return None
        if not self._numbered:
            return self._whole
        number = str(next(self._numbers)).encode()
        head, body = self._template
        return _join(head.replace(_NUMBER, number), body.replace(_NUMBER, number))

    def status(self, code: int) -> None:
        self.statuses[code] = self.statuses.get(code, 0) + 1

    def done(self, latency_s: float) -> None:
        self.latencies_s.append(latency_s)

    def lost(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._closed.set()

    async def run(self) -> dict[str, Any]:
        order, loop = self._order, asyncio.get_running_loop()
        self._open = int(order["connections"])
        began_s = time.perf_counter()
        self._until_s = began_s + 3600
        starts = [
            loop.create_connection(lambda: Answers(self), order["host"], order["port"], ssl=_tls())
            for _ in range(self._open)
        ]
        await asyncio.gather(*starts)
        self.latencies_s.clear()
        began_s = time.perf_counter()
        self._until_s = began_s + float(order["seconds"])
        await self._closed.wait()
        took_s = time.perf_counter() - began_s
        ordered = sorted(self.latencies_s)
        return {
            "count": len(ordered),
            "per_second": len(ordered) / took_s,
            "p50_ms": _percentile_ms(ordered, 0.50),
            "p99_ms": _percentile_ms(ordered, 0.99),
            "statuses": self.statuses,
            "next": next(self._numbers),
        }


def _percentile_ms(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


def _request(order: dict[str, Any]) -> tuple[bytes, bytes]:
    """(head without Content-Length, body)"""
    body = (order.get("body") or "").encode()
    lines = [
        f"{order['method']} {order['path']} HTTP/1.1",
        f"Host: {order['host']}:{order['port']}",
        f"Authorization: Bearer {order['token']}",
        "User-Agent: benchmark/1.0",
        "Accept: application/json",
    ]
    if body:
        lines.append(f"Content-Type: {order.get('type', 'application/json')}")
    return "\r\n".join(lines).encode(), body


def _join(head: bytes, body: bytes) -> bytes:
    if not body:
        return head + b"\r\n\r\n"
    return b"%b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def _tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Seen:
    """What all watchers together have seen; `reached` once it is what was written."""

    def __init__(self) -> None:
        self.events = 0
        self._wanted: int | None = None
        self.reached = asyncio.Event()

    def add(self, events: int) -> None:
        self.events += events
        self.want(self._wanted)

    def want(self, events: int | None) -> None:
        self._wanted = events
        if events is not None and self.events >= events:
            self.reached.set()


class Watch(asyncio.Protocol):
    """Counts the events of one watch stream: each is a line that ends in `}`."""

    def __init__(self, request: bytes, seen: Seen) -> None:
        self._request = request
        self._seen = seen
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        events = data.count(b"}\n")
        if self._last == b"}" and data[:1] == b"\n":
            events += 1
        self._last = data[-1:]
        self._seen.add(events)


async def fan_out(order: dict[str, Any]) -> dict[str, Any]:
    """Write while watchers listen; until every watcher has what was written. Events a second over all of them."""
    loop, seen = asyncio.get_running_loop(), Seen()
    head, _ = _request({**order, "method": "GET"})
    request = _join(head, b"")
    starts = [
        loop.create_connection(lambda: Watch(request, seen), order["host"], order["port"], ssl=_tls())
        for _ in range(int(order["watchers"]))
    ]
    opened = await asyncio.gather(*starts)
    await asyncio.sleep(SETTLE_S)
    seen.events = 0
    began_s = time.perf_counter()
    written = await Load(order["write"]).run()
    expected = written["statuses"].get(201, 0) * len(opened)
    seen.want(expected)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(seen.reached.wait(), PATIENCE_S)
    took_s = time.perf_counter() - began_s
    for transport, _ in opened:
        transport.close()
    return {
        "events": seen.events,
        "expected": expected,
        "per_second": seen.events / took_s,
        "writes_per_second": written["per_second"],
        "next": written["next"],
    }


async def obey(order: dict[str, Any]) -> dict[str, Any]:
    return await (fan_out(order) if order["do"] == "watch" else Load(order).run())


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(uvloop.run(obey(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
