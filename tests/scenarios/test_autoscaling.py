"""Load on simulated pods, and autoscalers, through a real kubectl; and docs/autoscaling.md as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.kit.world import World
from pilothouse.nodes.stages.read import read
from tests.conftest import Running, start, stop
from tests.scenarios.test_main_job import Kubectl, runner

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "autoscaling.md").read_text()
FILES = dict(re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", PAGE, re.M | re.S))
(SCRIPT,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
QUICK = (
    "--horizontal-pod-autoscaler-sync-period=1s",
    "--horizontal-pod-autoscaler-downscale-stabilization=3s",
    "--horizontal-pod-autoscaler-cpu-initialization-period=0s",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("autoscaling"), "--ephemeral", *QUICK)
    yield running
    assert stop(running) == 0


@pytest.fixture
def run(cluster: Running, kubectl: str, tmp_path: Path) -> Kubectl:
    return runner(cluster, kubectl, tmp_path)


def test_the_page_works_as_it_stands(kubectl: str, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    assert read([tmp_path / "usage.yaml"], World()).usages is not None
    program = tmp_path / "pilothouse"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pilothouse "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{Path(kubectl).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HOME": str(tmp_path)}
    down = "trap 'pilothouse down --data-dir demo >/dev/null 2>&1 || true' EXIT\n"
    done = subprocess.run(
        ["bash", "-euc", down + SCRIPT],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    used = sorted(re.findall(r"^web-\S+ +(\d+m) +32Mi", done.stdout, re.M))
    assert used == ["10m", "10m", "120m"], done.stdout
    assert "New size: 3; reason: cpu resource utilization (percentage of request) above target" in done.stdout
    assert "New size: 1; reason: All metrics below target" in done.stdout


POD = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "two",
            "annotations": {
                "pilothouse.dev/cpu-usage.a": "300m",
                "pilothouse.dev/cpu-usage.b": "200m",
                "pilothouse.dev/memory-usage": "64Mi",
            },
        },
        "spec": {"containers": [{"name": name, "image": "x"} for name in ("a", "b")]},
    }
)


def test_kubectl_top(run: Kubectl) -> None:
    run("apply", "-f", "-", stdin=POD)
    run("run", "one", "--image=x", "--annotations=kwok.x-k8s.io/usage-memory=1Gi")
    run("wait", "--for=condition=Ready", "pod/two", "pod/one", "--timeout=20s")
    pods = [line.split() for line in run("top", "pods", "--no-headers").splitlines()]
    assert sorted(pods) == [["one", "1m", "1024Mi"], ["two", "500m", "128Mi"]]
    for by, first in (("cpu", "two"), ("memory", "one")):
        assert run("top", "pods", "--no-headers", f"--sort-by={by}").split()[0] == first
    containers = [
        line.split() for line in run("top", "pod", "two", "--containers", "--no-headers").splitlines()
    ]
    assert sorted(containers) == [["two", "a", "300m", "64Mi"], ["two", "b", "200m", "64Mi"]]
    nodes = [line.split() for line in run("top", "nodes", "--no-headers", "--sort-by=memory").splitlines()]
    assert {name for name, *_ in nodes} == {"node-0", "node-1", "node-2"}
    assert sum(int(line[1].removesuffix("m")) for line in nodes) >= 501
    assert "v1beta1.metrics.k8s.io" in run("get", "apiservices")
    assert "NodeMetrics" in run("api-resources", "--api-group=metrics.k8s.io")
    assert re.search(r"^two +500m +128Mi +15s", run("get", "podmetrics"), re.M)


def test_an_autoscaler_as_kubectl_describes_it(run: Kubectl) -> None:
    run("create", "deployment", "api", "--image=x", "--replicas=2")
    run("set", "resources", "deployment", "api", "--requests=cpu=100m")
    run("rollout", "status", "deployment/api", "--timeout=30s")
    run("annotate", "pods", "-l", "app=api", "kwok.x-k8s.io/usage-cpu=50m")
    run("autoscale", "deployment", "api", "--min=1", "--max=6", "--cpu-percent=50")
    settled = "{.status.currentMetrics[0].resource.current.averageUtilization}=50"
    run("wait", "hpa/api", f"--for=jsonpath={settled}", "--timeout=30s")
    assert re.search(r"api +Deployment/api +cpu: 50%/50% +1 +6 +2", run("get", "hpa", "api"))
    told = run("describe", "hpa", "api")
    for line in (
        r"resource cpu on pods  \(as a percentage of request\): +50% \(50m\) / 50%",
        r"Deployment pods: +2 current / 2 desired",
        r"AbleToScale +True +ReadyForNewScale +recommended size matches current size",
        r"ScalingActive +True +ValidMetricFound +the HPA was able to successfully calculate a replica count",
        r"ScalingLimited +False +DesiredWithinRange +the desired count is within the acceptable range",
    ):
        assert re.search(line, told), told
