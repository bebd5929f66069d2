"""The program of docs/controllers.md in processes of its own, against a running cluster, with kubectl."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Running
from tests.scenarios.processes import eventually
from tests.scenarios.test_main_job import Kubectl, get, runner

PAGE = Path(__file__).parents[2] / "docs" / "controllers.md"
_SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "greetings.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "greetings", "kind": "Greeting"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": _SCHEMA},
            }
        ],
    },
}


@pytest.fixture
def run(cluster: Running, kubectl: str, tmp_path: Path) -> Kubectl:
    return runner(cluster, kubectl, tmp_path)


@pytest.fixture
def programs(cluster: Running, run: Kubectl, tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two copies."""
    for name, text in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        (tmp_path / name).write_text(text.replace(", port=8443", ""))
    (tmp_path / "kubeconfig").write_text(Path(str(cluster.kubeconfig)).read_text())
    run("apply", "-f", "-", stdin=json.dumps(_CRD))
    run("wait", "--for=condition=Established", "crd/greetings.example.com", "--timeout=20s")
    with ExitStack() as stack:
        started = []
        for number in range(2):
            log = stack.enter_context((tmp_path / f"{number}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, "main.py"],
                cwd=tmp_path,
                env=dict(os.environ),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(process)
        yield started


def greeting(name: str, whom: str) -> str:
    body = {
        "apiVersion": "example.com/v1",
        "kind": "Greeting",
        "metadata": {"name": name},
        "spec": {"whom": whom},
    }
    return json.dumps(body)


def test_one_of_two_copies_works_and_the_other_takes_over(
    run: Kubectl, programs: list[subprocess.Popen[str]]
) -> None:
    run("apply", "-f", "-", stdin=greeting("g", "world"))
    run("wait", "--for=jsonpath={.status.greeted}=world", "greeting/g", "--timeout=30s")
    assert get(run, "configmap", "g")["data"] == {"text": "Hello, world!"}
    assert get(run, "lease", "greetings")["spec"]["holderIdentity"]
    for process in programs:
        process.terminate()
        if process is programs[0]:
            assert process.wait(timeout=10) == 0
            run("apply", "-f", "-", stdin=greeting("h", "you"))
            run("wait", "--for=jsonpath={.status.greeted}=you", "greeting/h", "--timeout=30s")
            run("delete", "greeting", "g", "--timeout=20s")
            eventually(lambda: "Farewell" in run("get", "events"))
    assert programs[1].wait(timeout=10) == 0
