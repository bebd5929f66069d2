"""kube-controller-manager at work: pods of every kind of workload made, scaled, rolled and deleted.

    python -m benchmarks.controllers [--kinds deployments,statefulsets,daemonsets,jobs] [--pods 1000,10000]
                                     [--nodes N] [--idle SECONDS] [--lost NODES [--of NODES] [--taints N]]
                                     [--json FILE]

For each kind and number of pods, in a fresh `pilothouse up --ephemeral` with a node for every ten pods (5,000 at most):
seconds, and processor seconds of the whole server, until all pods are ready (deploy), half of them are gone (scale; not
for daemon sets), the rest has a new image (roll; not for jobs), and nothing is left (delete).
Growth is the processor time for a pod at the largest size in relation to the smallest: about 1 for what is linear.

Then memory, and the processor time of the largest cluster while nothing happens but leases (every 10 s for each node)
and statuses (every 5 min). Lost nodes are counted in virtual time: how long it takes until all of them, or as many
as `--taints` asks for, have their NoExecute taint, of twice as many, or of as many as `--of` says, the shortest and
the longest time between two (upstream's flags: one in 10 s), and when the pods, one for each node, run again.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import urllib.error
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from benchmarks import servers
from benchmarks.report import Report, arguments
from benchmarks.servers import Server

PATIENCE_S = 1800.0
NODES_MAX = 5000
PODS_PER_NODE = 10
_POLL_S = 0.25
_BASE = "/apis/{group}/namespaces/default/{plural}"

Obj = dict[str, Any]


class Kind:
    """How a kind of workload holds pods. `size` pods are in one object; `nodes` is the number of nodes."""

    def __init__(self, kind: str, group: str, size: int, **spec: Any) -> None:
        self.plural = kind.lower() + "s"
        self.path = _BASE.format(group=group, plural=self.plural)
        self.kind = kind
        self.group = group
        self._size = size
        self._spec = spec

    def objects(self, pods: int, nodes: int) -> list[Obj]:
        size = nodes if self.kind == "DaemonSet" else min(self._size, pods)
        count = max(1, pods // size)
        return [self._object(f"load-{number}", size) for number in range(count)]

    def _object(self, name: str, size: int) -> Obj:
        labels = {"app": name}
        requests = {"requests": {"cpu": "10m", "memory": "16Mi"}}
        container = {"name": "main", "image": "app:1", "resources": requests}
        template: Obj = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec: Obj = {"template": template, **self._spec}
        if self.kind == "Job":
            template["spec"]["restartPolicy"] = "Never"
            spec |= {"parallelism": size, "completions": size}
        else:
            spec["selector"] = {"matchLabels": labels}
        if self.kind in ("Deployment", "StatefulSet"):
            spec["replicas"] = size
        return {"apiVersion": self.group, "kind": self.kind, "metadata": {"name": name}, "spec": spec}

    def ready(self, obj: Obj) -> int:
        status = obj.get("status") or {}
        return int(
            status.get({"DaemonSet": "numberAvailable", "Job": "ready"}.get(self.kind, "readyReplicas")) or 0
        )

    def updated(self, obj: Obj) -> int:
        """Pods that are ready and of the present template."""
        status = obj.get("status") or {}
        seen = status.get("observedGeneration", 0) == obj["metadata"]["generation"]
        name = "updatedNumberScheduled" if self.kind == "DaemonSet" else "updatedReplicas"
        whole = status.get("replicas", status.get("currentNumberScheduled"))
        return min(int(status.get(name) or 0), self.ready(obj)) if seen and whole == status.get(name) else -1

    def half(self, obj: Obj) -> Obj:
        """The patch that leaves half of its pods."""
        name = "parallelism" if self.kind == "Job" else "replicas"
        return {name: obj["spec"][name] // 2}

    @property
    def scales(self) -> bool:
        """A daemon set has no size: it grows with the nodes."""
        return self.kind != "DaemonSet"

    @property
    def rolls(self) -> bool:
        return self.kind != "Job"


KINDS = {
    kind.plural: kind
    for kind in (
        Kind("Deployment", "apps/v1", 500),
        Kind("StatefulSet", "apps/v1", 50, serviceName="load", podManagementPolicy="Parallel"),
        Kind("DaemonSet", "apps/v1", 0, updateStrategy={"rollingUpdate": {"maxUnavailable": "25%"}}),
        Kind("Job", "batch/v1", 500),
    )
}


class Run:
    """One kind and size on one server."""

    def __init__(self, server: Server, kind: Kind, report: Report, pods: int, nodes: int) -> None:
        self._server = server
        self._kind = kind
        self._report = report
        self._pods = pods
        self._nodes = nodes
        self._name = f"controllers/{kind.plural}/{pods}pods_{nodes}nodes"
        self.cpu_s: dict[str, float] = {}

    def all(self) -> None:
        objects = self._kind.objects(self._pods, self._nodes)
        whole = sum(wanted(obj, self._nodes) for obj in objects)
        self._phase("deploy", lambda: self._create(objects), lambda: self._sum(self._kind.ready) == whole)
        self._report.add(f"{self._name}/memory", self._server.memory_mb(), "MB")
        if self._kind.scales:
            half = sum(wanted(obj, self._nodes) // 2 for obj in objects)
            self._phase(
                "scale", lambda: self._patch(self._kind.half), lambda: self._sum(self._kind.ready) == half
            )
            whole = half
        if self._kind.rolls:
            self._phase(
                "roll", lambda: self._patch(new_image), lambda: self._sum(self._kind.updated) == whole
            )
        self._phase("delete", self._delete, lambda: self._count_pods() == 0)

    def _phase(self, name: str, act: Callable[[], None], done: Callable[[], bool]) -> None:
        began_s, cpu_s = time.perf_counter(), self._server.cpu_s()
        act()
        while not _answered(done):
            if time.perf_counter() - began_s > PATIENCE_S:
                raise SystemExit(f"{self._name}/{name} is not over after {PATIENCE_S:.0f} s")
            time.sleep(_POLL_S)
        self._report.add(f"{self._name}/{name}", time.perf_counter() - began_s, "s")
        self.cpu_s[name] = self._server.cpu_s() - cpu_s
        self._report.add(f"{self._name}/{name}/processor", self.cpu_s[name], "s")

    def _items(self) -> list[Obj]:
        found: list[Obj] = self._server.request("GET", self._kind.path)["items"]
        return found

    def _sum(self, what: Callable[[Obj], int]) -> int:
        return sum(map(what, self._items()))

    def _create(self, objects: Iterable[Obj]) -> None:
        for obj in objects:
            self._server.request("POST", self._kind.path, obj)

    def _patch(self, change: Callable[[Obj], Obj]) -> None:
        for obj in self._items():
            path = f"{self._kind.path}/{obj['metadata']['name']}"
            self._server.request("PATCH", path, {"spec": change(obj)}, "application/merge-patch+json")

    def _delete(self) -> None:
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        self._server.request("DELETE", self._kind.path, options)

    def _count_pods(self) -> int:
        page = self._server.request("GET", "/api/v1/namespaces/default/pods?limit=1")
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount") or 0)


def _answered(question: Callable[[], bool]) -> bool:
    """False also when the server is too busy to say: it has a minute for an answer."""
    try:
        return question()
    except (TimeoutError, urllib.error.HTTPError) as error:
        if isinstance(error, urllib.error.HTTPError) and error.code not in (429, 504):
            raise
        return False


def wanted(obj: Obj, nodes: int) -> int:
    spec = obj["spec"]
    return int(spec.get("replicas", spec.get("parallelism", nodes)))


def new_image(obj: Obj) -> Obj:
    container = {**obj["spec"]["template"]["spec"]["containers"][0], "image": "app:2"}
    return {"template": {"spec": {"containers": [container]}}}


# -- the parts ----------------------------------------------------------------------------------------------


def measure(report: Report, kind: Kind, sizes: list[int], nodes: int) -> None:
    """Every size in a server of its own, and the growth from the first to the last."""
    runs: list[Run] = []
    for pods in sizes:
        count = nodes or node_count(pods)
        with servers.pilothouse("--nodes", str(count), durable=False) as server:
            wait_nodes(server, count)
            run = Run(server, kind, report, pods, count)
            run.all()
        runs.append(run)
    add_growth(report, f"controllers/{kind.plural}", sizes, [run.cpu_s for run in runs])


def node_count(pods: int) -> int:
    """A node for every ten pods."""
    return max(10, min(NODES_MAX, pods // PODS_PER_NODE))


def add_growth(report: Report, name: str, sizes: list[int], cpu_s: list[dict[str, float]]) -> None:
    """Processor time for a pod at the largest size in relation to the smallest, phase by phase."""
    if len(sizes) > 1:
        for phase, first_s in cpu_s[0].items():
            growth = cpu_s[-1][phase] / sizes[-1] / (first_s / sizes[0])
            report.add(f"{name}/growth/{phase}", growth, "x")


def idle(report: Report, pods: int, nodes: int, seconds: float) -> None:
    """A cluster full of pods that is left alone."""
    name = f"controllers/idle/{pods}pods_{nodes}nodes"
    kind = KINDS["deployments"]
    with servers.pilothouse("--nodes", str(nodes), durable=False) as server:
        wait_nodes(server, nodes)
        for obj in kind.objects(pods, nodes):
            server.request("POST", kind.path, obj)
        while sum(map(kind.ready, server.request("GET", kind.path)["items"])) < pods:
            time.sleep(1.0)
        time.sleep(20.0)
        began_s, cpu_s = time.perf_counter(), server.cpu_s()
        time.sleep(seconds)
        share = (server.cpu_s() - cpu_s) / (time.perf_counter() - began_s)
        report.add(f"{name}/processor", share * 100, "% of a core")
        report.add(f"{name}/memory", server.memory_mb(), "MB")


def wait_nodes(server: Server, count: int) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        items = server.request("GET", "/api/v1/nodes")["items"]
        if len(items) == count and not any(item["spec"].get("taints") for item in items):
            return
        time.sleep(_POLL_S)
    raise SystemExit(f"not all of {count} nodes became ready")


def lose(report: Report, lost: int, nodes: int, taints: int) -> None:
    """`lost` of `nodes` fall silent at once; seen until `taints` of them are tainted, and if that is all of them,
    until their pods run elsewhere."""
    from pilothouse.kit import garbage
    from pilothouse.kit.virtual_loop import run_virtual

    garbage.settle()
    cpu_s = time.process_time()
    times, replaced_s = run_virtual(_lose(lost, nodes, taints))
    name = f"controllers/lost_nodes/{lost}of{nodes}"
    pauses = [b - a for a, b in pairwise(times)]
    report.add(f"{name}/first_evicted", times[0], "virtual s")
    report.add(f"{name}/evicted_in", times[-1] - times[0], "virtual s")
    report.add(f"{name}/evicted", len(times), "nodes")
    report.add(f"{name}/shortest_pause", min(pauses), "virtual s")
    report.add(f"{name}/longest_pause", max(pauses), "virtual s")
    if replaced_s:
        report.add(f"{name}/pods_replaced", replaced_s, "virtual s")
    report.add(f"{name}/processor", time.process_time() - cpu_s, "s")


async def _lose(lost: int, nodes: int, taints: int) -> tuple[list[float], float]:
    """When each got its NoExecute taint, in seconds after the loss, and when all pods ran again (0: not seen)."""
    from pilothouse.api.resources import DEPLOYMENTS, NODES
    from pilothouse.cluster import Cluster, ClusterOptions
    from pilothouse.kit.world import simulated_world

    clock = (world := simulated_world(1)).clock
    kind = KINDS["deployments"]
    async with Cluster(ClusterOptions(secure_port=None, nodes=nodes), world) as cluster:
        client = cluster.client()
        await asyncio.sleep(30)
        objects = kind.objects(nodes, nodes)
        for obj in objects:
            await client.create(DEPLOYMENTS, obj, "default")
        await asyncio.sleep(30)
        stopped = {"metadata": {"annotations": {"pilothouse.dev/stopped": "true"}}}
        began_s = clock.monotonic()
        for number in range(lost):
            await client.patch(NODES, f"node-{number}", stopped)
        times: dict[str, float] = {}
        while len(times) < taints:  # a watch ends after half an hour at the latest
            async for batch in client.watch(
                NODES, sendInitialEvents="true", resourceVersionMatch="NotOlderThan"
            ):
                for event in batch:
                    present = (event.object.get("spec") or {}).get("taints") or ()
                    if any(taint["effect"] == "NoExecute" for taint in present):
                        name = event.object["metadata"]["name"]
                        times.setdefault(name, clock.monotonic() - began_s)
                if len(times) >= taints:
                    break
        whole = sum(wanted(obj, nodes) for obj in objects)
        for _ in range(1000 if len(times) == lost else 0):
            items = (await client.list(DEPLOYMENTS, "default"))["items"]
            if sum(map(kind.ready, items)) == whole:
                return sorted(times.values()), clock.monotonic() - began_s
            await asyncio.sleep(1)
    return sorted(times.values()), 0.0


def sizes_and_kinds(description: str) -> argparse.ArgumentParser:
    """--kinds, --pods, --nodes and --json."""
    parser = arguments(description)
    parser.add_argument("--kinds", type=_names, default=list(KINDS), metavar="KIND,…")
    parser.add_argument("--pods", type=_numbers, default=[1000, 10_000], metavar="N,…")
    parser.add_argument("--nodes", type=int, default=0, help="the same for every size")
    return parser


def main() -> None:
    parser = sizes_and_kinds("Measure the controllers on clusters of many pods and nodes.")
    parser.add_argument(
        "--idle", type=float, default=0.0, metavar="SECONDS", help="watch the largest at rest"
    )
    parser.add_argument("--lost", type=int, default=0, metavar="NODES", help="lose so many at once")
    parser.add_argument("--of", type=int, default=0, metavar="NODES", help="nodes that there are then")
    parser.add_argument(
        "--taints", type=int, default=0, metavar="N", help="be content when so many are tainted"
    )
    options = parser.parse_args()
    report = Report()
    for name in options.kinds:
        measure(report, KINDS[name], options.pods, options.nodes)
    if options.idle:
        pods = options.pods[-1]
        idle(report, pods, options.nodes or min(NODES_MAX, pods // PODS_PER_NODE), options.idle)
    if options.lost:
        lose(report, options.lost, options.of or 2 * options.lost, options.taints or options.lost)
    report.write(options.json)


def _names(text: str) -> list[str]:
    unknown = [name for name in filter(None, text.split(",")) if name not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown kind {unknown[0]}; one of {', '.join(KINDS)}")
    return [name for name in text.split(",") if name]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
