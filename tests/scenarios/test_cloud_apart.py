"""cloud-controller-manager in processes of its own, beside kube-controller-manager with --cloud-provider=external: with
the permissions that it prints, under accounts of its own, two copies of which one leads."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running
from tests.etcds import free_port
from tests.scenarios.processes import call, eventually, ready_line, running
from tests.scenarios.test_main_job import Kubectl, get, runner

Start = Callable[..., subprocess.Popen[str]]
_SHORT = (
    "--leader-elect-lease-duration=3s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=500ms",
    "--secure-port=0",
)
_CONFIG = """
loadBalancers: {addresses: 127.43.0.0/16}
volumes: {capacity: 10Gi}
"""
_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "local"},
    "provisioner": "local.pilothouse.dev",
    "allowVolumeExpansion": True,
}
_CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local",
        "resources": {"requests": {"storage": "1Gi"}},
    },
}
_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "user"},
    "spec": {
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
    },
}


class Apart:
    """A cluster of processes; `logs` by component, in the order they started."""

    def __init__(self, data: Path, stack: ExitStack) -> None:
        self.data = data
        self.directory = data / "d"
        self.logs: dict[str, list[Path]] = {}
        self._stack = stack
        server = self.start("kube-apiserver", f"--data-dir={self.directory}", "--bind-address=127.0.0.1")
        self.url = ready_line(server, self.logs["kube-apiserver"][0]).split()[4]

    def start(self, name: str, *flags: str) -> subprocess.Popen[str]:
        logs = self.logs.setdefault(name, [])
        logs.append(self.data / f"{name}-{len(logs)}.log")
        more = ("--secure-port=0",) if name == "kube-apiserver" else ()
        return self._stack.enter_context(running(name, *flags, *more, log=logs[-1]))

    def known(self, name: str, *flags: str) -> subprocess.Popen[str]:
        return self.start(name, f"--kubeconfig={self.directory / name}.kubeconfig", *flags)

    def cloud(self, provider: str, *flags: str) -> subprocess.Popen[str]:
        place = f"--cloud-data-dir={self.data / 'cloud'}"
        return self.known("cloud-controller-manager", f"--cloud-provider={provider}", place, *flags, *_SHORT)

    def known_nodes(self, count: int) -> None:
        self.known("nodes", f"--count={count}", "--cloud-provider=external")

    def kubectl(self, program: str) -> Kubectl:
        return runner(Running(self.url, self.directory / "kubeconfig", None), program, self.data)  # type: ignore[arg-type]

    def allow_cloud(self, run: Kubectl, provider: str) -> None:
        flags = ("--print-rbac", "--cloud-provider", provider)
        printed = call("cloud-controller-manager", *flags, home=self.data)
        assert printed.returncode == 0, printed.stderr
        run("apply", "-f", "-", stdin=printed.stdout)

    def refusals(self) -> list[str]:
        logs = [log.read_text() for name in self.logs for log in self.logs[name]]
        return [line for text in logs for line in text.splitlines() if "is forbidden" in line]


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Apart]:
    with ExitStack() as stack:
        cluster = Apart(tmp_path, stack)
        cluster.known(
            "kube-controller-manager",
            "--cloud-provider=external",
            "--use-service-account-credentials",
            "--node-monitor-grace-period=6s",
            *_SHORT,
        )
        cluster.known("kube-scheduler", *_SHORT)
        yield cluster


def _holder(run: Kubectl) -> str:
    found = get(run, "leases", "-n", "kube-system")["items"]
    return next(
        (
            str(lease["spec"].get("holderIdentity") or "")
            for lease in found
            if lease["metadata"]["name"] == "cloud-controller-manager"
        ),
        "",
    )


def _answer(address: str, port: int) -> str:
    done = subprocess.run(
        ["curl", "-s", "-i", "--max-time", "3", f"http://{address}:{port}/"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("accounts", [True, False])
def test_the_local_cloud(apart: Apart, kubectl: str, accounts: bool) -> None:
    run = apart.kubectl(kubectl)
    apart.allow_cloud(run, "local")
    config = apart.data / "cloud.yaml"
    config.write_text(_CONFIG)
    flags = (f"--cloud-config={config}", f"--use-service-account-credentials={str(accounts).lower()}")
    first = apart.cloud("local", *flags)
    eventually(lambda: _holder(run) != "")
    holder = _holder(run)
    apart.cloud("local", *flags)
    apart.known_nodes(2)

    _nodes_are_described(run)
    _service_answers(run)
    _volume_lives_and_goes(run, apart.data / "cloud" / "volumes")

    assert _holder(run) == holder, "the second one waits"
    first.send_signal(signal.SIGKILL)
    eventually(lambda: _holder(run) not in ("", holder))
    address = get(run, "service", "web")["status"]["loadBalancer"]["ingress"][0]["ip"]
    eventually(lambda: "503 Service Unavailable" in _answer(address, 8081))
    run("delete", "service", "web", "--timeout=20s")
    assert _answer(address, 8081) == ""
    assert apart.refusals() == []


def _nodes_are_described(run: Kubectl) -> None:
    eventually(lambda: "node-1" in run("get", "nodes"))
    run("wait", "--for=jsonpath={.spec.providerID}=local:///node-1", "node/node-1", "--timeout=20s")
    eventually(lambda: all("taints" not in n["spec"] for n in get(run, "nodes")["items"]))
    labels = get(run, "node", "node-1")["metadata"]["labels"]
    assert "topology.kubernetes.io/zone" not in labels


def _service_answers(run: Kubectl) -> None:
    run("create", "deployment", "web", "--image=nginx")
    run("expose", "deployment", "web", "--type=LoadBalancer", "--port=8081")
    run("rollout", "status", "deployment/web", "--timeout=40s")
    run("wait", "--for=jsonpath={.status.loadBalancer.ingress[0].ip}", "service/web", "--timeout=20s")
    line = run("get", "service", "web", "--no-headers").split()
    address = line[3]
    assert address.startswith("127.43.")
    eventually(lambda: "X-Pilothouse-Pod: default/web-" in _answer(address, 8081))
    assert _answer(address, 8081).startswith("HTTP/1.1 503 Service Unavailable")


def _volume_lives_and_goes(run: Kubectl, directory: Path) -> None:
    run("apply", "-f", "-", stdin=json.dumps(_CLASS))
    run("apply", "-f", "-", stdin=json.dumps(_CLAIM))
    run("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=20s")
    assert [p.name for p in directory.iterdir()] != []
    run("apply", "-f", "-", stdin=json.dumps(_POD))
    run("wait", "--for=condition=Ready", "pod/user", "--timeout=30s")
    (attachment,) = get(run, "volumeattachments")["items"]
    assert attachment["status"]["attached"] is True
    more = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    run("patch", "pvc", "data", "-p", json.dumps(more))
    run("wait", "--for=jsonpath={.status.capacity.storage}=3Gi", "pvc/data", "--timeout=20s")
    run("delete", "pod/user", "pvc/data", "--timeout=60s")
    eventually(lambda: run("get", "pv,volumeattachments") == "No resources found\n")
    eventually(lambda: list(directory.iterdir()) == [])


def test_a_node_group_of_the_simulated_cloud_grows_and_shrinks(apart: Apart, kubectl: str) -> None:
    run = apart.kubectl(kubectl)
    apart.allow_cloud(run, "sim")
    port = free_port()
    config = apart.data / "sim.yaml"
    config.write_text(
        "instances: {startSeconds: [0, 0.1]}\n"
        "nodeGroups: [{name: blue, size: 1, max: 3, labels: {color: blue}}]\n"
        f"autoscalerAddress: 127.0.0.1:{port}\n"
    )
    apart.cloud("sim", f"--cloud-config={config}", "--use-service-account-credentials")
    apart.known_nodes(0)
    eventually(lambda: run("get", "nodes", "-l", "color=blue", "-o", "name").count("node/") == 1)
    assert _ask(port, "/nodeGroups/blue/increaseSize", {"delta": 1}) == {"targetSize": 2}
    eventually(lambda: run("get", "nodes", "-l", "color=blue", "-o", "name").count("node/") == 2)
    run("wait", "--for=condition=Ready", "nodes", "-l", "color=blue", "--timeout=30s")
    eventually(lambda: all("taints" not in n["spec"] for n in get(run, "nodes")["items"]))
    nodes = get(run, "nodes")["items"]
    assert all(n["spec"]["podCIDRs"] and n["spec"]["providerID"].startswith("sim:///i-") for n in nodes)
    gone = nodes[0]["metadata"]["name"]
    assert _ask(port, f"/nodeGroupForNode/{gone}")["nodeGroup"]["id"] == "blue"
    assert _ask(port, "/nodeGroups/blue/deleteNodes", {"nodes": [gone]}) == {"targetSize": 1}
    run("wait", "--for=delete", f"node/{gone}", "--timeout=40s")
    assert len(get(run, "nodes")["items"]) == 1
    assert apart.refusals() == []


def _ask(port: int, path: str, body: object = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=5) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found
