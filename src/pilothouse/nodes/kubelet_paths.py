"""A kubelet's own paths: /healthz, /pods, /stats/summary, /metrics/resource, /configz.

What simulated containers use is said by `nodes.usage`; a meter adds up the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from pilothouse.api.kubelet import Answer, Usages
from pilothouse.api.types import Obj
from pilothouse.kit.world import parse_timestamp, timestamp

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_JSON = "application/json"


class _Use(NamedTuple):
    """What a running container uses: cores times 10⁹, bytes; `cpu_s` are its core-seconds so far."""

    container: str
    started: str
    nano_cores: int
    cpu_s: float
    memory: int


_Using = Callable[[Obj], list[_Use]]
_Key = tuple[str, str, str]
"""UID of the pod, container, start; ("", "", "") for the node."""
_NODE: _Key = ("", "", "")


class Meter:
    """The CPU counters of one node: what is used now counts from the last look on, as kwok has it. So they never go
    back when a container is said to use less, and the node's stays when pods go."""

    def __init__(self) -> None:
        self._read: dict[_Key, tuple[float, float]] = {}

    def core_s(self, key: _Key, nano_cores: int, since_s: float, now_s: float) -> float:
        """Core-seconds so far; `since_s` is when it began."""
        at_s, total = self._read.get(key, (since_s, 0.0))
        total += max(now_s - at_s, 0.0) * nano_cores / 1e9
        self._read[key] = (now_s, total)
        return total

    def node_core_s(self, used_s: float, nano_cores: int, now_s: float) -> float:
        """`used_s` are the core-seconds of all containers: what the node begins with."""
        self._read.setdefault(_NODE, (now_s, used_s))
        return self.core_s(_NODE, nano_cores, now_s, now_s)

    def keep(self, uids: set[str]) -> None:
        """Forget the containers of pods that are gone."""
        for key in [k for k in self._read if k[0] not in uids and k != _NODE]:
            del self._read[key]


def answer(
    node: str, obj: Obj | None, pods: list[Obj], path: str, now_s: float, usages: Usages, meter: Meter
) -> Answer:
    """`meter` is the node's."""

    def using(pod: Obj) -> list[_Use]:
        return list(_uses(pod, obj, now_s, usages, meter))

    meter.keep({pod["metadata"]["uid"] for pod in pods})
    match path.rstrip("/"):
        case "/healthz" | "/livez" | "/readyz":
            return Answer(200, _TEXT, b"ok")
        case "/pods" | "/runningpods":
            items = [{"kind": "Pod", "apiVersion": "v1", **pod} for pod in pods]
            return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        case "/stats/summary":
            return _json(_summary(node, obj, pods, now_s, using, meter))
        case "/metrics/resource":
            return Answer(200, _METRICS, _resource_metrics(pods, now_s, using, meter).encode())
        case "/metrics" | "/metrics/cadvisor" | "/metrics/probes":
            return Answer(200, _METRICS, b"")
        case "/configz":
            return _json({"kubeletconfig": {"kind": "KubeletConfiguration", "nodeLeaseDurationSeconds": 40}})
        case _:
            return Answer(404, _TEXT, b"404 page not found\n")


def _json(value: Obj) -> Answer:
    return Answer(200, _JSON, msgspec.json.encode(value))


def _uses(pod: Obj, node: Obj | None, now_s: float, usages: Usages, meter: Meter) -> Iterator[_Use]:
    for use in usages.of(pod, node):
        key = (pod["metadata"]["uid"], use.container, use.started)
        cpu_s = meter.core_s(key, use.nano_cores, parse_timestamp(use.started), now_s)
        yield _Use(use.container, use.started, use.nano_cores, cpu_s, use.memory)


def _summary(node: str, obj: Obj | None, pods: list[Obj], now_s: float, using: _Using, meter: Meter) -> Obj:
    """stats.k8s.io/v1alpha1 Summary."""
    now = timestamp(now_s)
    entries, total = [], [0, 0.0, 0]
    for pod in pods:
        uses = using(pod)
        if not uses:
            continue
        meta = pod["metadata"]
        sums = [sum(u.nano_cores for u in uses), sum(u.cpu_s for u in uses), sum(u.memory for u in uses)]
        total = [a + b for a, b in zip(total, sums, strict=True)]
        entries.append(
            {
                "podRef": {k: meta.get(k, "") for k in ("name", "namespace", "uid")},
                "startTime": pod["status"]["startTime"],
                "containers": [
                    {
                        "name": u.container,
                        "startTime": u.started,
                        **_figures(now, u.nano_cores, u.cpu_s, u.memory),
                    }
                    for u in uses
                ],
                **_figures(now, int(sums[0]), sums[1], int(sums[2])),
            }
        )
    started = obj["metadata"]["creationTimestamp"] if obj is not None else now
    core_s = meter.node_core_s(total[1], int(total[0]), now_s)
    mine = {"nodeName": node, "startTime": started, **_figures(now, int(total[0]), core_s, int(total[2]))}
    return {"node": mine, "pods": entries}


def _figures(now: str, nano_cores: int, cpu_s: float, memory: int) -> Obj:
    return {
        "cpu": {"time": now, "usageNanoCores": nano_cores, "usageCoreNanoSeconds": int(cpu_s * 1e9)},
        "memory": {"time": now, "usageBytes": memory, "workingSetBytes": memory, "rssBytes": memory},
    }


def _resource_metrics(pods: list[Obj], now_s: float, using: _Using, meter: Meter) -> str:
    """What metrics-server scrapes."""
    cpu: list[str] = []
    memory: list[str] = []
    starts: list[str] = []
    pod_cpu: list[str] = []
    pod_memory: list[str] = []
    cores = used = 0.0
    nano = 0
    at = int(now_s * 1000)
    for pod in pods:
        meta = pod["metadata"]
        whole = f'namespace="{meta.get("namespace", "")}",pod="{meta["name"]}"'
        uses = using(pod)
        for use in uses:
            labels = f'{{container="{use.container}",{whole}}}'
            cpu.append(f"container_cpu_usage_seconds_total{labels} {use.cpu_s:.6f} {at}")
            memory.append(f"container_memory_working_set_bytes{labels} {use.memory} {at}")
            starts.append(f"container_start_time_seconds{labels} {parse_timestamp(use.started):.0f}")
        if uses:
            cores += sum(u.cpu_s for u in uses)
            nano += sum(u.nano_cores for u in uses)
            used += sum(u.memory for u in uses)
            pod_cpu.append(f"pod_cpu_usage_seconds_total{{{whole}}} {sum(u.cpu_s for u in uses):.6f} {at}")
            pod_memory.append(f"pod_memory_working_set_bytes{{{whole}}} {sum(u.memory for u in uses)} {at}")
    cores = meter.node_core_s(cores, nano, now_s)
    families = [
        ("container_cpu_usage_seconds_total", "counter", cpu),
        ("container_memory_working_set_bytes", "gauge", memory),
        ("container_start_time_seconds", "gauge", starts),
        ("node_cpu_usage_seconds_total", "counter", [f"node_cpu_usage_seconds_total {cores:.6f} {at}"]),
        ("node_memory_working_set_bytes", "gauge", [f"node_memory_working_set_bytes {used:.0f} {at}"]),
        ("pod_cpu_usage_seconds_total", "counter", pod_cpu),
        ("pod_memory_working_set_bytes", "gauge", pod_memory),
        ("resource_scrape_error", "gauge", ["resource_scrape_error 0"]),
    ]
    return "".join(
        "\n".join([f"# TYPE {name} {kind}", *samples, ""]) for name, kind, samples in families if samples
    )
