"""The API server over TLS, from a separate process, against a bare aiohttp handler in the same run.

    python -m benchmarks.api [--json FILE] [--seconds 3] [--connections 64] [--only TEXT]

Measured: GET and LIST(500) of pods, POST of pods and config maps (durable: each is on the disk before its answer),
merge PATCH, watch fan-out to 100 watchers, seconds from start to /readyz, memory with 0 and 10,000 pods. A ratio
compares with the bare handler reading the same request and sending a body of the same size.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks import servers
from benchmarks.report import Report, arguments
from benchmarks.servers import Generator, Server

PODS = "/api/v1/namespaces/default/pods"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def pod(name: str) -> dict[str, Any]:
    """A pod such as a controller makes; its scheduler does not exist, so that only the API server works."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "benchmark", "pod-template-hash": "5d6b9c8f7"}},
        "spec": {
            "schedulerName": "benchmark",
            "containers": [
                {
                    "name": "main",
                    "image": "registry.k8s.io/pause:3.10",
                    "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    "env": [{"name": "MODE", "value": "benchmark"}],
                }
            ],
        },
    }


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "v" * 400}}


class Comparison:
    def __init__(self, report: Report, load: Generator, server: Server, bare_port: int, options: Any) -> None:
        self._report, self._load, self._server, self._bare = report, load, server, bare_port
        self._options = options
        self._first = 0

    def measure(self, name: str, size: int, **order: Any) -> None:
        """`size` is the length of one answer."""
        if self._options.only not in name:
            return
        order = {
            "do": "requests",
            "seconds": self._options.seconds,
            "connections": self._options.connections,
            **order,
        }
        before_s = self._server.cpu_s()
        mine = self._load.order(port=self._server.port, first=self._first, **order)
        cpu_s = self._server.cpu_s() - before_s
        self._first = mine["next"] + order["connections"]
        bad = {code: n for code, n in mine["statuses"].items() if int(code) >= 300}
        if bad:
            raise SystemExit(f"{name}: the server refused requests: {bad}")
        bare = self._load.order(port=self._bare, **{**order, "path": f"/{size}"})
        self._report.add(f"{name}/per_second", mine["per_second"], "requests/s")
        self._report.add(f"{name}/of_bare", mine["per_second"] / bare["per_second"], "ratio")
        self._report.add(f"{name}/cpu", cpu_s / mine["count"] * 1e6, "us")
        if size > 100_000:
            self._report.add(f"{name}/throughput", mine["per_second"] * size / 1e6, "MB/s")
        self._report.add(f"{name}/p50", mine["p50_ms"], "ms")
        self._report.add(f"{name}/p99", mine["p99_ms"], "ms")

    def fan_out(self, watchers: int) -> None:
        name = f"watch_{watchers}"
        if self._options.only not in name:
            return
        write = {
            "host": "127.0.0.1",
            "port": self._server.port,
            "token": servers.TOKEN,
            "first": self._first,
            "seconds": self._options.seconds,
            "connections": 32,
            "method": "POST",
            "path": CONFIG_MAPS,
            "body": json.dumps(config_map("watched-%N%")),
        }
        path = f"{CONFIG_MAPS}?watch=true"
        seen = self._load.order(do="watch", port=self._server.port, path=path, watchers=watchers, write=write)
        self._first = seen["next"] + 32
        if seen["events"] < seen["expected"]:
            raise SystemExit(f"{name}: {seen['events']} events of {seen['expected']} came")
        self._report.add(f"{name}/events", seen["per_second"], "events/s")
        self._report.add(f"{name}/writes", seen["writes_per_second"], "requests/s")


def requests(report: Report, options: Any) -> None:
    with servers.pilothouse() as server, Generator() as load, servers.bare(server.directory) as bare_port:
        for index in range(500):
            server.request("POST", PODS, pod(f"listed-{index}"))
        one = len(json.dumps(server.request("GET", f"{PODS}/listed-0"), separators=(",", ":"))) + 1
        all_of_them = len(json.dumps(server.request("GET", PODS), separators=(",", ":"))) + 1
        comparison = Comparison(report, load, server, bare_port, options)
        comparison.measure("get_pod", one, method="GET", path=f"{PODS}/listed-0")
        comparison.measure("list_500_pods", all_of_them, method="GET", path=PODS, connections=8)
        comparison.measure("post_pod", one, method="POST", path=PODS, body=json.dumps(pod("made-%N%")))
        made = json.dumps(config_map("made-%N%"))
        size = len(json.dumps(server.request("POST", CONFIG_MAPS, config_map("one")), separators=(",", ":")))
        comparison.measure("post_config_map", size, method="POST", path=CONFIG_MAPS, body=made)
        patch = json.dumps({"metadata": {"annotations": {"benchmark": "%N%"}}})
        merge = "application/merge-patch+json"
        comparison.measure(
            "patch_config_map",
            size,
            method="PATCH",
            path=f"{CONFIG_MAPS}/one",
            body=patch,
            type=merge,
            connections=1,
        )
        comparison.measure(
            "patch_pods", one, method="PATCH", path=f"{PODS}/listed-0", body=patch, type=merge, connections=1
        )
        comparison.fan_out(100)


def start(report: Report) -> None:
    """The best of three: the first may find no compiled modules."""
    seconds = []
    for _ in range(3):
        with servers.pilothouse(durable=False) as server:
            seconds.append(server.ready_s)
    report.add("start_to_readyz", min(seconds), "s")


def memory(report: Report, pods: int = 10_000) -> None:
    with servers.pilothouse(durable=False) as server, Generator() as load:
        server.request("GET", PODS)
        empty_mb = server.memory_mb()
        report.add("memory_3_nodes_0_pods", empty_mb, "MB")
        made = first = 0
        while made < pods:
            done = load.order(
                do="requests",
                port=server.port,
                seconds=1,
                connections=16,
                first=first,
                method="POST",
                path=PODS,
                body=json.dumps(pod("made-%N%")),
            )
            made += done["count"]
            first = done["next"] + 16
        full_mb = server.memory_mb()
        report.add("memory_3_nodes_pods", full_mb, "MB")
        report.add("memory_per_pod", (full_mb - empty_mb) * 1024 / made, "KB")


def main() -> None:
    parser = arguments("Measure the API server.")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each load lasts")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only the figures whose name contains TEXT"
    )
    options = parser.parse_args()
    report = Report()
    if options.only in "start_to_readyz":
        start(report)
    if options.only in "memory":
        memory(report)
    requests(report, options)
    report.write(options.json)


if __name__ == "__main__":
    main()
