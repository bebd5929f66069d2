"""The main job, through a real kubectl: a deployment, its rollout, a service, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running, start, stop

Kubectl = Callable[..., str]


@pytest.fixture
def run(cluster: Running, kubectl: str, tmp_path: Path) -> Kubectl:
    return runner(cluster, kubectl, tmp_path)


def runner(cluster: Running, kubectl: str, home: Path) -> Kubectl:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(home)}

    def run(*arguments: str, stdin: str = "", code: int = 0) -> str:
        done = subprocess.run(
            [kubectl, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return run


def get(run: Kubectl, *arguments: str) -> Any:
    return json.loads(run("get", *arguments, "-o", "json"))


def test_a_deployment_rolls_out_and_is_exposed(run: Kubectl) -> None:
    assert "deployment.apps/web created" in run(
        "create", "deployment", "web", "--image=nginx", "--replicas=3"
    )
    assert "successfully rolled out" in run("rollout", "status", "deployment/web", "--timeout=30s")
    assert "service/web exposed" in run("expose", "deployment", "web", "--port=80")
    pods = get(run, "pods", "-l", "app=web")["items"]
    assert len(pods) == 3
    assert {p["status"]["phase"] for p in pods} == {"Running"}
    assert all(p["spec"]["nodeName"] for p in pods)
    conditions = {c["type"]: c["status"] for c in pods[0]["status"]["conditions"]}
    assert conditions["PodScheduled"] == conditions["Ready"] == "True"
    run("wait", "--for=jsonpath={.subsets[0].addresses[2].ip}", "endpoints/web", "--timeout=20s")
    slices = get(run, "endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
    assert sorted(e["addresses"][0] for e in slices[0]["endpoints"]) == sorted(
        p["status"]["podIP"] for p in pods
    )
    service = get(run, "service", "web")
    assert service["spec"]["clusterIP"].startswith("10.96.")


def test_scaling_and_rolling_back(run: Kubectl) -> None:
    run("create", "deployment", "roll", "--image=nginx:1", "--replicas=2")
    run("rollout", "status", "deployment/roll", "--timeout=30s")
    run("scale", "deployment/roll", "--replicas=4")
    run("rollout", "status", "deployment/roll", "--timeout=30s")
    run("set", "image", "deployment/roll", "nginx=nginx:2")
    run("rollout", "status", "deployment/roll", "--timeout=30s")
    assert "REVISION" in run("rollout", "history", "deployment/roll")
    run("rollout", "undo", "deployment/roll")
    run("rollout", "status", "deployment/roll", "--timeout=30s")
    found = get(run, "deployment", "roll")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:1"
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_deleting_a_deployment_takes_its_pods_along(run: Kubectl) -> None:
    run("create", "deployment", "gone", "--image=nginx")
    run("rollout", "status", "deployment/gone", "--timeout=30s")
    run("delete", "deployment", "gone")
    run("wait", "--for=delete", "pod", "-l", "app=gone", "--timeout=30s")


def test_a_namespace_is_emptied(run: Kubectl) -> None:
    run("create", "namespace", "shop")
    run("create", "configmap", "settings", "-n", "shop", "--from-literal=a=b")
    run("delete", "namespace", "shop", "--timeout=30s")
    assert "NotFound" in run("get", "namespace", "shop", code=1)


def test_server_side_apply_reports_conflicts(run: Kubectl) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {a: '%s'}\n"
    run("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=manifest % 1)
    refused = run("apply", "--server-side", "--field-manager=two", "-f", "-", stdin=manifest % 2, code=1)
    assert 'conflict with "one": .data.a' in refused
    run("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-", stdin=manifest % 2)
    assert get(run, "configmap", "shared")["data"] == {"a": "2"}


def test_an_unschedulable_pod_says_why(run: Kubectl) -> None:
    run(
        "run",
        "big",
        "--image=nginx",
        "--overrides",
        json.dumps(
            {
                "spec": {
                    "containers": [
                        {"name": "big", "image": "nginx", "resources": {"requests": {"cpu": "99"}}}
                    ]
                }
            }
        ),
    )
    run("wait", "--for=condition=PodScheduled=false", "pod/big", "--timeout=20s")
    conditions = get(run, "pod", "big")["status"]["conditions"]
    message = next(c["message"] for c in conditions if c["type"] == "PodScheduled")
    assert message.startswith("0/3 nodes are available: 3 Insufficient cpu.")


def test_access_follows_roles(run: Kubectl) -> None:
    assert "no" in run("auth", "can-i", "list", "pods", "--as=bob", code=1)
    run("create", "clusterrolebinding", "bob-views", "--clusterrole=view", "--user=bob")
    assert "yes" in run("auth", "can-i", "list", "pods", "--as=bob")


def test_data_outlives_a_restart(tmp_path: Path, kubectl: str) -> None:
    data = str(tmp_path / "kept")
    first = start(tmp_path, "--data-dir", data, "--nodes", "1")
    run = runner(first, kubectl, tmp_path)
    run("create", "configmap", "kept", "--from-literal=a=b")
    revision = int(get(run, "configmap", "kept")["metadata"]["resourceVersion"])
    assert stop(first) == 0
    second = start(tmp_path, "--data-dir", data, "--nodes", "1")
    run = runner(second, kubectl, tmp_path)
    found = get(run, "configmap", "kept")
    assert found["data"] == {"a": "b"}
    assert int(found["metadata"]["resourceVersion"]) == revision
    assert stop(second) == 0
