"""The phases of `benchmarks.controllers` in virtual time: processor time only, and of nothing but the work.

    python -m benchmarks.controllers_virtual [--kinds deployments,…] [--pods 1000,10000] [--nodes N] [--idle SECONDS]
                                             [--json FILE]

A whole cluster in one process whose clock jumps: nobody waits, no other process takes part, and few heartbeats happen
while pods come and go. So figures of a busy machine can be compared, and sizes that would take an hour beside others
take as long as their work. Seconds of the virtual clock tell what waits for a time and not for the processor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.controllers import KINDS, Kind, add_growth, new_image, node_count, sizes_and_kinds, wanted
from benchmarks.report import Report
from benchmarks.servers import resident_mb
from pilothouse.api.resources import NODES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit import garbage
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

_POLL_S = 1.0
_PATIENCE_S = 7200.0
_NAMESPACE = "default"


class _Run:
    """One kind and size in one cluster."""

    def __init__(self, client: Client, kind: Kind, report: Report, name: str) -> None:
        group, _, version = kind.group.rpartition("/")
        self._client = client
        self._kind = kind
        self._report = report
        self._name = name
        self._resource = Resource(group, version, kind.plural, kind.kind)
        self.cpu_s: dict[str, float] = {}

    async def all(self, pods: int, nodes: int) -> None:
        objects = self._kind.objects(pods, nodes)
        whole = sum(wanted(obj, nodes) for obj in objects)
        await self._phase("deploy", lambda: self._create(objects), self._adds_up(self._kind.ready, whole))
        self._report.add(f"{self._name}/memory", resident_mb("self"), "MB")
        if self._kind.scales:
            whole = sum(wanted(obj, nodes) // 2 for obj in objects)
            await self._phase(
                "scale", lambda: self._patch(self._kind.half), self._adds_up(self._kind.ready, whole)
            )
        if self._kind.rolls:
            await self._phase(
                "roll", lambda: self._patch(new_image), self._adds_up(self._kind.updated, whole)
            )
        await self._phase("delete", self._delete, self._is_empty)

    async def _phase(
        self, name: str, act: Callable[[], Awaitable[None]], done: Callable[[], Awaitable[bool]]
    ) -> None:
        loop = asyncio.get_running_loop()
        began_s, cpu_s = loop.time(), time.process_time()
        await act()
        await _until(done, f"{self._name}/{name}")
        self.cpu_s[name] = time.process_time() - cpu_s
        self._report.add(f"{self._name}/{name}/processor", self.cpu_s[name], "s")
        self._report.add(f"{self._name}/{name}", loop.time() - began_s, "virtual s")

    async def _items(self) -> list[Obj]:
        items: list[Obj] = (await self._client.list(self._resource, _NAMESPACE))["items"]
        return items

    def _adds_up(self, what: Callable[[Obj], int], whole: int) -> Callable[[], Awaitable[bool]]:
        async def question() -> bool:
            return sum(map(what, await self._items())) == whole

        return question

    async def _is_empty(self) -> bool:
        return not (await self._client.list(PODS, _NAMESPACE, limit="1"))["items"]

    async def _create(self, objects: list[Obj]) -> None:
        for obj in objects:
            await self._client.create(self._resource, obj, _NAMESPACE)

    async def _patch(self, change: Callable[[Obj], Obj]) -> None:
        for obj in await self._items():
            await self._client.patch(
                self._resource, obj["metadata"]["name"], {"spec": change(obj)}, _NAMESPACE
            )

    async def _delete(self) -> None:
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        await self._client.delete_collection(self._resource, _NAMESPACE, options)


async def _one(report: Report, kind: Kind, pods: int, nodes: int) -> dict[str, float]:
    name = f"controllers_virtual/{kind.plural}/{pods}pods_{nodes}nodes"
    async with Cluster(ClusterOptions(secure_port=None, nodes=nodes), simulated_world(1)) as cluster:
        client = cluster.client()
        await _until(lambda: _all_ready(client, nodes), "registration")
        await asyncio.sleep(30)
        run = _Run(client, kind, report, name)
        await run.all(pods, nodes)
        return run.cpu_s


async def _idle(report: Report, nodes: int, seconds: float) -> None:
    """Nodes alone: nothing but leases (every 10 s for each) and statuses (every 5 min)."""
    async with Cluster(ClusterOptions(secure_port=None, nodes=nodes), simulated_world(1)) as cluster:
        client = cluster.client()
        await _until(lambda: _all_ready(client, nodes), "registration")
        await asyncio.sleep(60)
        cpu_s = time.process_time()
        await asyncio.sleep(seconds)
        share = (time.process_time() - cpu_s) / seconds
        report.add(f"controllers_virtual/idle/{nodes}nodes/processor", share * 100, "% of a core")
        report.add(f"controllers_virtual/idle/{nodes}nodes/memory", resident_mb("self"), "MB")


async def _until(done: Callable[[], Awaitable[bool]], what: str) -> None:
    for _ in range(int(_PATIENCE_S / _POLL_S)):
        if await done():
            return
        await asyncio.sleep(_POLL_S)
    raise SystemExit(f"{what} is not over after {_PATIENCE_S:.0f} virtual s")


async def _all_ready(client: Client, count: int) -> bool:
    items = (await client.list(NODES))["items"]
    return len(items) == count and not any(item["spec"].get("taints") for item in items)


def main() -> None:
    parser = sizes_and_kinds("Measure the controllers in virtual time.")
    parser.add_argument("--idle", type=float, default=0.0, metavar="SECONDS", help="watch nodes at rest")
    options = parser.parse_args()
    garbage.settle()
    report = Report()
    for plural in options.kinds:
        cpu_s = [
            run_virtual(_one(report, KINDS[plural], pods, options.nodes or node_count(pods)))
            for pods in options.pods
        ]
        add_growth(report, f"controllers_virtual/{plural}", options.pods, cpu_s)
    if options.idle:
        nodes = options.nodes or node_count(options.pods[-1])
        run_virtual(_idle(report, nodes, options.idle))
    report.write(options.json)


if __name__ == "__main__":
    main()
