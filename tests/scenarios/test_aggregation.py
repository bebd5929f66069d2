"""An extension API server behind a cluster, through a real kubectl."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running, start, stop
from tests.extension_server import GROUP, PREFIX, VERSION, ExtensionServer, api_service, external_service
from tests.scenarios.test_main_job import Kubectl, runner

NAME = f"{VERSION}.{GROUP}"


class Beside:
    """An extension server on a loop of its own."""

    def __init__(self, server: ExtensionServer) -> None:
        self.server = server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> ExtensionServer:
        self._thread.start()
        self._run(self.server.__aenter__())
        return self.server

    def stop(self) -> None:
        self._run(self.server.__aexit__())

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("aggregation"), "--ephemeral")
    yield running
    assert stop(running) == 0


def test_kubectl_uses_an_extension(cluster: Running, kubectl: str, tmp_path: Path) -> None:
    run = runner(cluster, kubectl, tmp_path)
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    known = json.loads(run("get", "--raw", path))["data"]
    with Beside(ExtensionServer(tmp_path, ["garden.default.svc"], known)) as extension:
        apply(run, tmp_path, external_service("garden", "127.0.0.1"))
        apply(run, tmp_path, api_service(extension, "garden"))
        run("wait", "--for=condition=Available", f"apiservice/{NAME}", "--timeout=20s")
        rows = [line.split()[:3] for line in run("get", "apiservices").splitlines()]
        assert rows[0] == ["NAME", "SERVICE", "AVAILABLE"]
        assert [NAME, "default/garden", "True"] in rows
        assert ["v1.apps", "Local", "True"] in rows
        assert json.loads(run("get", "--raw", f"{PREFIX}/namespaces/default/fruits"))["kind"] == "FruitList"
        until(lambda: "fruits" in run("api-resources", "--api-group", GROUP))
        assert run("get", "fruits", "-o", "name").split() == [f"fruit.{GROUP}/apple"]
        assert run("get", "fr", "apple", "-o", "jsonpath={.colour}") == "red"


def apply(run: Kubectl, directory: Path, obj: dict[str, Any]) -> None:
    file = directory / "object.json"
    file.write_text(json.dumps(obj))
    run("apply", "-f", str(file))


def until(condition: Any, limit_s: float = 15.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
