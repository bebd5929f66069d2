"""An operator written with kopf, as its users run it, against a running cluster: it sees custom resources come,
change and go, writes their status, and holds them with its finalizer until it is done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Running
from tests.scenarios.processes import eventually
from tests.scenarios.test_custom_resources import establish, resource
from tests.scenarios.test_main_job import Kubectl, get, runner

_OPERATOR = """
import kopf

@kopf.on.startup()
def quiet(settings, **_):
    settings.posting.enabled = True

@kopf.on.create("demo.example.com", "v1", "machines")
def created(spec, patch, name, namespace, body, **_):
    patch.status["phase"] = "Made"
    patch.status["replicas"] = spec["replicas"]
    kopf.info(body, reason="Made", message=f"made {spec['replicas']}")

@kopf.on.update("demo.example.com", "v1", "machines", field="spec.replicas")
def updated(old, new, patch, **_):
    patch.status["phase"] = f"From{old}To{new}"
    patch.status["replicas"] = new

@kopf.on.delete("demo.example.com", "v1", "machines")
def deleted(name, **_):
    with open("deleted.txt", "a") as out:
        out.write(name)
"""


@pytest.fixture
def run(cluster: Running, kubectl: str, tmp_path: Path) -> Kubectl:
    return runner(cluster, kubectl, tmp_path)


@contextmanager
def operator(cluster: Running, directory: Path, program: str = _OPERATOR) -> Iterator[None]:
    """`kopf run` until the block's end."""
    (directory / "machines.py").write_text(program)
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    with (directory / "kopf.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kopf", "run", "--namespace=default", "machines.py"],
            cwd=directory,
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_an_operator_follows_a_custom_resource(cluster: Running, run: Kubectl, tmp_path: Path) -> None:
    establish(run, "machines", "Machine")

    def phase() -> str:
        status = get(run, "machine", "m").get("status") or {}
        return str(status.get("phase", ""))

    with operator(cluster, tmp_path):
        run("create", "-f", "-", stdin=resource("Machine", "m", spec={"replicas": 2}))
        eventually(lambda: phase() == "Made")
        machine = get(run, "machine", "m")
        assert machine["status"]["replicas"] == 2
        assert machine["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
        eventually(lambda: "made 2" in run("get", "events"))

        run("scale", "machine/m", "--replicas=5")
        eventually(lambda: phase() == "From2To5")

        run("delete", "machine", "m", "--timeout=20s")
        assert (tmp_path / "deleted.txt").read_text() == "m"
