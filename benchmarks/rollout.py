"""A Deployment from `kubectl apply` to all of its pods running, and back to none.

    python -m benchmarks.rollout [--replicas 1000] [--nodes 100] [--json FILE] [--ephemeral]

Phases in seconds since `kubectl apply` began (since `kubectl scale --replicas=0` for the last one), as a client sees
them on a watch: the last pod created, bound, running, ready; the Deployment available; the last pod gone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from benchmarks import servers
from benchmarks.report import Report, arguments
from benchmarks.servers import Server

NAME = "web"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PATIENCE_S = 120.0


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": NAME}
    container = {
        "name": "main",
        "image": "nginx",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


class Progress:
    """What a watch of pods and of the Deployment has shown so far."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._changed = threading.Condition()
        self._pods: dict[str, dict[str, Any]] = {}
        self._available = 0
        self._phases: dict[str, int] = {"created": 0, "bound": 0, "running": 0, "ready": 0}
        self._reached_s: dict[tuple[str, int], float] = {}
        for path, see in ((f"{PODS}", self._pod), (f"{DEPLOYMENTS}", self._deployment)):
            threading.Thread(target=self._follow, args=(path, see), daemon=True).start()

    def _follow(self, path: str, see: Callable[[str, dict[str, Any]], None]) -> None:
        request = urllib.request.Request(
            f"https://127.0.0.1:{self._server.port}{path}?watch=true",
            headers={"Authorization": f"Bearer {servers.TOKEN}"},
        )
        with urllib.request.urlopen(request, context=servers.insecure()) as stream:
            for line in stream:
                event = json.loads(line)
                with self._changed:
                    see(event["type"], event["object"])
                    self._note()
                    self._changed.notify_all()

    def _pod(self, type_: str, pod: dict[str, Any]) -> None:
        name = pod["metadata"]["name"]
        before = self._pods.pop(name, None)
        now = None if type_ == "DELETED" else _state(pod)
        for phase in self._phases:
            self._phases[phase] += int(bool(now and now[phase])) - int(bool(before and before[phase]))
        if now is not None:
            self._pods[name] = now

    def _deployment(self, type_: str, obj: dict[str, Any]) -> None:
        self._available = obj.get("status", {}).get("availableReplicas", 0)

    def _note(self) -> None:
        now_s = time.perf_counter()
        for phase, count in [*self._phases.items(), ("available", self._available)]:
            self._reached_s[(phase, count)] = now_s

    def wait(self, phase: str, count: int) -> float:
        """When so many were last in a phase (time.perf_counter)."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._now(phase) == count, PATIENCE_S)
            if not done:
                raise SystemExit(f"{self._now(phase)} of {count} pods are {phase} after {PATIENCE_S:.0f} s")
            return self._reached_s[(phase, count)]

    def _now(self, phase: str) -> int:
        return self._available if phase == "available" else self._phases[phase]


def _state(pod: dict[str, Any]) -> dict[str, Any]:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}
    return {
        "created": True,
        "bound": bool(pod["spec"].get("nodeName")),
        "running": pod["status"].get("phase") == "Running",
        "ready": conditions.get("Ready") == "True",
    }


def kubectl(server: Server, *words: str, text: str = "") -> None:
    program = shutil.which("kubectl")
    if program is None:
        raise SystemExit("kubectl is not on the PATH; the benchmark applies with it")
    subprocess.run(
        [program, f"--kubeconfig={server.kubeconfig}", *words],
        input=text,
        text=True,
        check=True,
        capture_output=True,
    )


def measure(report: Report, replicas: int, nodes: int, *, durable: bool) -> None:
    with servers.pilothouse("--nodes", str(nodes), durable=durable) as server:
        _wait_nodes(server, nodes)
        kubectl(
            server, "get", "deployments"
        )  # fills kubectl's discovery cache, as on any machine that used it before
        progress = Progress(server)
        began_s = time.perf_counter()
        kubectl(server, "apply", "--server-side", "-f", "-", text=json.dumps(deployment(replicas)))
        report.add("rollout/kubectl_apply", time.perf_counter() - began_s, "s")
        for phase in ("created", "bound", "running", "ready", "available"):
            report.add(f"rollout/all_{phase}", progress.wait(phase, replicas) - began_s, "s")
        report.add("rollout/memory", server.memory_mb(), "MB")
        began_s = time.perf_counter()
        kubectl(server, "scale", f"deployment/{NAME}", "--replicas=0")
        report.add("rollout/all_gone", progress.wait("created", 0) - began_s, "s")


def _wait_nodes(server: Server, nodes: int) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        items = server.request("GET", "/api/v1/nodes")["items"]
        if len(items) == nodes and all(_is_ready(node) for node in items):
            return
        time.sleep(0.1)
    raise SystemExit(f"not all of {nodes} nodes became ready")


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) and not node["spec"].get(
        "taints"
    )


def main() -> None:
    parser = arguments("Measure a Deployment's way from kubectl apply to all of its pods running.")
    parser.add_argument("--replicas", type=int, default=1000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--ephemeral", action="store_true", help="keep the store in memory")
    options = parser.parse_args()
    report = Report()
    measure(report, options.replicas, options.nodes, durable=not options.ephemeral)
    report.write(options.json)


if __name__ == "__main__":
    main()
