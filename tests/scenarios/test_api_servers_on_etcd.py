"""Two API servers, each a process of its own, on a real etcd; and a whole control plane on one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pilothouse.kit.certificates import Authority
from pilothouse.kit.world import World
from tests.etcds import Etcd
from tests.scenarios.door import Door
from tests.scenarios.processes import eventually, ready_line, running

MAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"
ENDPOINTS = "/api/v1/namespaces/default/endpoints/kubernetes"
Kubectl = Callable[..., str]


class Server(NamedTuple):
    process: subprocess.Popen[str]
    door: Door
    directory: Path


class Started(NamedTuple):
    etcd: Etcd
    a: Server
    b: Server
    start: Callable[[str, str], Server]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    home = tmp_path_factory.mktemp("servers")
    tokens = home / "tokens.csv"
    tokens.write_text("admintoken,admin,1,system:masters\n")
    with ExitStack() as stack:
        etcd = Etcd()
        stack.callback(etcd.remove)

        def start(name: str, address: str) -> Server:
            directory, log = home / name, home / f"{name}.log"
            process = stack.enter_context(
                running(
                    "kube-apiserver",
                    f"--data-dir={directory}",
                    f"--etcd-servers={etcd.url}",
                    "--secure-port=0",
                    "--bind-address=127.0.0.1",
                    f"--advertise-address={address}",
                    f"--token-auth-file={tokens}",
                    log=log,
                )
            )
            return Server(process, Door(ready_line(process, log).split()[4]), directory)

        a = start("a", "10.9.0.1")
        # What makes them one cluster's: the same authority, the same key for tokens.
        shutil.copytree(a.directory / "pki", home / "b" / "pki")
        yield Started(etcd, a, start("b", "10.9.0.2"), start)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def names(door: Door, path: str) -> list[str]:
    return [item["metadata"]["name"] for item in door.ask("GET", path)["items"]]


def test_a_list_through_one_shows_what_was_just_made_through_the_other(started: Started) -> None:
    doors = (started.a.door, started.b.door)
    for n in range(40):
        writer, reader = doors[n % 2], doors[1 - n % 2]
        writer.ask("POST", MAPS, config_map(f"seen{n:02}"))
        assert f"seen{n:02}" in names(reader, MAPS)
        reader.ask("DELETE", f"{MAPS}/seen{n:02}")
        assert writer.ask("GET", f"{MAPS}/seen{n:02}", refused=True)["code"] == 404


def test_nothing_is_lost_when_both_change_one_object(started: Started) -> None:
    started.a.door.ask("POST", MAPS, config_map("counter", n="0"))

    def raise_(door: Door) -> None:
        done = 0
        while done < 25:
            found = door.ask("GET", f"{MAPS}/counter")
            found["data"]["n"] = str(int(found["data"]["n"]) + 1)
            done += "code" not in door.ask("PUT", f"{MAPS}/counter", found, refused=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(raise_, (started.a.door, started.b.door) * 2))
    assert started.a.door.ask("GET", f"{MAPS}/counter")["data"]["n"] == "100"


def test_no_address_and_no_port_twice(started: Started) -> None:
    def make(n: int) -> dict[str, Any]:
        door = (started.a.door, started.b.door)[n % 2]
        spec = {"type": "NodePort", "ports": [{"port": 80}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"s{n}"}, "spec": spec}
        return door.ask("POST", SERVICES, body)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(60)))
    assert len({service["spec"]["clusterIP"] for service in made}) == 60
    assert len({service["spec"]["ports"][0]["nodePort"] for service in made}) == 60


def test_certificates_and_tokens_of_one_hold_for_the_other(started: Started, kubectl: str) -> None:
    for server in (started.a, started.b):
        for other in (started.a, started.b):
            line = [
                kubectl,
                "--kubeconfig",
                str(server.directory / "kubeconfig"),
                "get",
                "namespaces",
                "-o",
                "name",
            ]
            line += ["--server", _url(other)]
            found = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
            assert "namespace/default" in found.stdout, found.stderr
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    started.a.door.ask("POST", accounts, account)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = started.a.door.ask("POST", f"{accounts}/robot/token", request)["status"]["token"]
    robot = Door(_url(started.b), token)
    refused = robot.ask("GET", MAPS, refused=True)
    assert refused["code"] == 403
    assert "system:serviceaccount:default:robot" in refused["message"]


def _url(server: Server) -> str:
    return f"https://{server.door._address}"


def test_the_service_kubernetes_leads_to_both(started: Started) -> None:
    found = started.b.door.ask("GET", ENDPOINTS)
    assert [a["ip"] for a in found["subsets"][0]["addresses"]] == ["10.9.0.1", "10.9.0.2"]


def test_etcd_goes_away_and_comes_back(started: Started) -> None:
    """The servers stay, say what is wrong, and go on: also the watches, without a gap."""
    a, b = started.a.door, started.b.door
    began = threading.Event()
    seen: dict[str, list[str]] = {"a": [], "b": []}

    def follow(which: str, door: Door) -> None:
        with door.watching(f"{MAPS}?watch=1&resourceVersion={revision}") as events:
            for event in events:
                seen[which].append(event["object"]["metadata"]["name"])
                if seen[which][-1] == "last":
                    return

    revision = a.ask("GET", MAPS)["metadata"]["resourceVersion"]
    with ThreadPoolExecutor(2) as pool:
        watches = [pool.submit(follow, "a", a), pool.submit(follow, "b", b)]
        began.wait(0.1)
        a.ask("POST", MAPS, config_map("before"))
        started.etcd.kill()
        assert a.raw("GET", "/readyz")[0] == 500
        assert b"error getting data from etcd" in b.raw("GET", "/livez/etcd")[2]
        assert "before" in names(b, f"{MAPS}?resourceVersion=0")
        started.etcd.start()
        eventually(lambda: a.raw("GET", "/readyz")[0] == 200 and b.raw("GET", "/readyz")[0] == 200)
        b.ask("POST", MAPS, config_map("after"))
        a.ask("POST", MAPS, config_map("last"))
        for watch in watches:
            watch.result(timeout=20)
    assert seen == {"a": ["before", "after", "last"], "b": ["before", "after", "last"]}


def test_what_a_killed_server_acknowledged_is_there(started: Started) -> None:
    server = started.start("c", "10.9.0.3")
    acknowledged: list[str] = []

    def write() -> None:
        for n in range(10_000):
            try:
                server.door.ask("POST", MAPS, config_map(f"killed{n}"))
            except OSError:
                return
            acknowledged.append(f"killed{n}")

    writer = threading.Thread(target=write)
    writer.start()
    eventually(lambda: len(acknowledged) > 50)
    os.kill(server.process.pid, signal.SIGKILL)
    writer.join(timeout=20)
    assert set(acknowledged) <= set(names(started.b.door, MAPS))


@pytest.mark.long
def test_a_killed_server_is_no_endpoint_any_more(started: Started) -> None:
    server = started.start("d", "10.9.0.4")
    addresses = lambda: [a["ip"] for a in started.b.door.ask("GET", ENDPOINTS)["subsets"][0]["addresses"]]  # noqa: E731
    assert "10.9.0.4" in addresses()
    os.kill(server.process.pid, signal.SIGKILL)
    eventually(lambda: "10.9.0.4" not in addresses(), 40)


def test_a_whole_control_plane_on_etcd_outlives_its_restart(tmp_path: Path) -> None:
    tokens, log = tmp_path / "tokens.csv", tmp_path / "log"
    tokens.write_text("admintoken,admin,1,system:masters\n")
    etcd = Etcd()
    flags = (
        f"--data-dir={tmp_path / 'd'}",
        f"--etcd-servers={etcd.url}",
        "--etcd-prefix=/mine",
        "--secure-port=0",
        f"--token-auth-file={tokens}",
    )
    try:
        with running("up", *flags, log=log) as process:
            door = Door(ready_line(process, log).split()[4])
            deployments = "/apis/apps/v1/namespaces/default/deployments"
            door.ask("POST", deployments, _deployment("web"))
            eventually(lambda: _ready(door, f"{deployments}/web") == 3)
            etcd.kill()
            etcd.start()
            eventually(lambda: door.raw("GET", "/readyz")[0] == 200)
            door.ask("POST", deployments, _deployment("again"))
            eventually(lambda: _ready(door, f"{deployments}/again") == 3)
        with running("up", *flags, log=log) as process:
            door = Door(ready_line(process, log).split()[4])
            assert {"web", "again"} <= set(names(door, deployments))
            etcd.kill()
        assert process.returncode == 0, "an etcd that is away keeps nobody from stopping"
    finally:
        etcd.remove()


def test_an_etcd_that_asks_for_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "etcd-pki", World())
    own = authority.server("etcd", ["127.0.0.1"])
    client = authority.client("client", "apiserver-etcd-client", ())
    ca = tmp_path / "etcd-pki" / "ca.crt"
    etcd = Etcd(
        scheme="https",
        flags=(
            f"--cert-file={own.certificate}",
            f"--key-file={own.key}",
            f"--trusted-ca-file={ca}",
            "--client-cert-auth",
        ),
    )
    flags = (f"--data-dir={tmp_path / 'd'}", f"--etcd-servers={etcd.url}", "--secure-port=0")
    certificates = (
        f"--etcd-cafile={ca}",
        f"--etcd-certfile={client.certificate}",
        f"--etcd-keyfile={client.key}",
    )
    log = tmp_path / "log"
    try:
        with running("kube-apiserver", *flags, *certificates, log=log) as process:
            assert ready_line(process, log)
    finally:
        etcd.remove()


def _ready(door: Door, path: str) -> int:
    ready: int = door.ask("GET", path).get("status", {}).get("readyReplicas", 0)
    return ready


def _deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
