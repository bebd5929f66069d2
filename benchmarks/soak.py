"""Memory of `pilothouse up` under a steady load over TLS, from this separate process.

    python -m benchmarks.soak [--minutes 10] [--rate 100] [--json FILE]

Objects are made, replaced, patched and deleted, events run out, pods are scheduled and deleted, watches come and go,
tokens are issued and used, and strangers try paths, verbs, names and users that were never seen before. What is there
at any moment is about the same; so must be the memory. Every 10 s a line with the resident memory, the files of the
store and the requests so far; at the end the slope after the first third, which is warm-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import servers
from benchmarks.report import Report, arguments
from benchmarks.servers import TOKEN, Server

PERIOD_S = 10.0
WARM_UP_SHARE = 1 / 3
NAMESPACE = "/api/v1/namespaces/default"
FLAGS = ("--etcd-compaction-interval=1m", "--event-ttl=2m")
"""History and events reach their steady state within the warm-up."""
_MERGE = "application/merge-patch+json"
_WATCHERS = 10

Step = Callable[[], Awaitable[None]]


class Load:
    """Each kind of work does its share of `rate` requests a second, whether or not the last one was answered."""

    def __init__(self, server: Server, rate: float) -> None:
        self._url = f"https://127.0.0.1:{server.port}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=servers.insecure(), limit=200),
            timeout=aiohttp.ClientTimeout(30),
        )
        self._rate = rate
        self._numbers = iter(range(10**9))
        self._waiting: set[asyncio.Future[None]] = set()
        self._random = random.Random(1)
        self.requests = 0
        self.failures: dict[str, int] = {}

    async def close(self) -> None:
        for future in self._waiting:
            future.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        await self._session.close()

    async def run(self) -> None:
        """Until it is cancelled."""
        shares: list[tuple[Step, float, int]] = [
            (self._config_map, 0.6, 5),
            (self._event, 0.1, 1),
            (self._pod, 0.04, 2),
            (self._token, 0.04, 2),
            (self._stranger, 0.2, 1),
            (self._read, 0.02, 1),
        ]
        async with asyncio.TaskGroup() as group:
            for step, share, requests in shares:
                group.create_task(self._repeat(step, requests / (self._rate * share)))
            for _ in range(_WATCHERS):
                group.create_task(self._watch_again_and_again())

    async def _repeat(self, step: Step, period_s: float) -> None:
        while True:
            work = asyncio.ensure_future(self._tolerant(step))
            self._waiting.add(work)
            work.add_done_callback(self._waiting.discard)
            await asyncio.sleep(period_s)

    async def _tolerant(self, step: Step) -> None:
        try:
            await step()
        except (aiohttp.ClientError, TimeoutError, KeyError, TypeError) as error:
            name = type(error).__name__
            self.failures[name] = self.failures.get(name, 0) + 1

    async def _ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/json", **headers: str
    ) -> Any:
        self.requests += 1
        sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(method, self._url + path, json=body, headers=sent) as answer:
            if answer.content_type != "application/json":
                return await answer.read()
            return await answer.json()

    # -- kinds of work ----------------------------------------------------------------------------------

    async def _config_map(self) -> None:
        name = f"cm-{next(self._numbers)}"
        path = f"{NAMESPACE}/configmaps"
        made = await self._ask(
            "POST", path, {"metadata": {"name": name, "labels": {"in": "1"}}, "data": {"a": "v" * 1000}}
        )
        made["data"]["a"] = "w" * 1000
        await self._ask("PUT", f"{path}/{name}", made)
        await self._ask("PATCH", f"{path}/{name}", {"metadata": {"labels": {"in": "0"}}}, _MERGE)
        await self._ask("GET", f"{path}/{name}")
        await self._ask("DELETE", f"{path}/{name}")

    async def _event(self) -> None:
        body = {
            "metadata": {"name": f"event-{next(self._numbers)}"},
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "x"},
            "reason": "Soaked",
        }
        await self._ask("POST", f"{NAMESPACE}/events", body)

    async def _pod(self) -> None:
        name = f"pod-{next(self._numbers)}"
        spec = {"containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10"}]}
        await self._ask("POST", f"{NAMESPACE}/pods", {"metadata": {"name": name}, "spec": spec})
        await asyncio.sleep(5)
        await self._ask("DELETE", f"{NAMESPACE}/pods/{name}?gracePeriodSeconds=1")

    async def _token(self) -> None:
        made = await self._ask("POST", f"{NAMESPACE}/serviceaccounts/default/token", {})
        bearer = f"Bearer {made['status']['token']}"
        await self._ask("GET", f"{NAMESPACE}/configmaps", Authorization=bearer)

    async def _stranger(self) -> None:
        n = next(self._numbers)
        await self._random.choice(
            (
                lambda: self._ask("GET", f"/apis/group{n}.example.com/v1/things"),
                lambda: self._ask("GET", f"/api/v1/namespaces/ns-{n}/pods/x/sub{n}"),
                lambda: self._ask(
                    "GET", f"/api/v1/namespaces/ns-{n}/pods", Authorization=f"Bearer stranger-{n}"
                ),
                lambda: self._ask("GET", f"/api/v1/namespaces/ns-{n}/pods", Impersonate_User=f"user-{n}"),
                lambda: self._ask("GET", f"{NAMESPACE}/pods?labelSelector=a%3Db{n}"),
                lambda: self._ask(
                    "POST", f"{NAMESPACE}/configmaps", {"metadata": {"name": f"Not Valid {n}"}}
                ),
                lambda: self._ask(
                    "PUT", f"{NAMESPACE}/configmaps/none-{n}", {"metadata": {"name": f"none-{n}"}}
                ),
            )
        )()

    async def _read(self) -> None:
        path = self._random.choice(
            ("/openapi/v2", "/openapi/v3", "/apis", "/metrics", "/api/v1", "/api/v1/pods")
        )
        await self._ask("GET", path)

    async def _watch_again_and_again(self) -> None:
        while True:
            await self._tolerant(self._watch)

    async def _watch(self) -> None:
        """For some seconds; some end by themselves, some are broken off."""
        self.requests += 1
        path, seconds = self._random.choice(("configmaps", "events", "pods")), self._random.uniform(1, 8)
        query = f"watch=true&timeoutSeconds={int(seconds) + self._random.choice((0, 60))}"
        query += self._random.choice(("", "&labelSelector=in%3D1", "&allowWatchBookmarks=true"))
        query += self._random.choice(("", "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(seconds),
                self._session.get(f"{self._url}{NAMESPACE}/{path}?{query}", headers=headers) as answer,
            ):
                async for _ in answer.content.iter_any():
                    pass


def _store_mb(server: Server) -> float:
    files = Path(server.directory, "data", "store").iterdir()
    return sum(file.stat().st_size for file in files) / 1024 / 1024


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares: units of the second per unit of the first."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


async def _soak(server: Server, minutes: float, rate: float, report: Report) -> None:
    load = Load(server, rate)
    running = asyncio.create_task(load.run())
    began_s = time.monotonic()
    points: list[tuple[float, float]] = []
    try:
        while (spent_s := time.monotonic() - began_s) < minutes * 60 and not running.done():
            points.append((spent_s / 60, server.memory_mb()))
            print(
                f"{spent_s:6.0f} s {points[-1][1]:8.1f} MB  store {_store_mb(server):6.1f} MB  "
                f"{load.requests} requests  {load.failures or ''}",
                flush=True,
            )
            await asyncio.wait((running,), timeout=PERIOD_S)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await load.close()
    steady = [point for point in points if point[0] >= minutes * WARM_UP_SHARE] or points
    report.add("Soak/memory/end", points[-1][1], "MB")
    report.add("Soak/memory/slope", slope(steady), "MB/min")
    report.add("Soak/store/end", _store_mb(server), "MB")
    report.add("Soak/requests", load.requests / (points[-1][0] * 60 or 1), "1/s")
    report.add("Soak/processor", server.cpu_s() / (points[-1][0] * 60 or 1), "s/s")
    report.add("Soak/failures", sum(load.failures.values()), "1")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    options = parser.parse_args()
    report = Report()
    with servers.pilothouse(*FLAGS) as server:
        asyncio.run(_soak(server, options.minutes, options.rate, report))
    report.write(options.json)


if __name__ == "__main__":
    main()
