"""A scheduler with a configuration file, as a process of its own beside the one of `up`."""

from __future__ import annotations

import json
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.conftest import Running, start, stop
from tests.scenarios.processes import call, eventually, running
from tests.scenarios.test_main_job import Kubectl, get, runner

PORT = 27200
HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
SHORT = "{resourceName: second, leaseDuration: 3s, renewDeadline: 2s, retryPeriod: 500ms}"

Start = Callable[..., subprocess.Popen[str]]


class Picky(BaseHTTPRequestHandler):
    """An extender that lets pods onto node-2 alone."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = [name for name in asked["NodeNames"] if name == "node-2"]
        failed = {name: "not node-2" for name in asked["NodeNames"] if name != "node-2"}
        body = json.dumps({"NodeNames": names, "FailedNodes": failed}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def extender() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Picky)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/picky"
    server.shutdown()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Its own scheduler has two profiles."""
    directory = tmp_path_factory.mktemp("scheduled")
    file = directory / "scheduler.yaml"
    file.write_text(
        HEAD
        + "profiles:\n- schedulerName: default-scheduler\n- schedulerName: packer\n"
        + "  pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}]\n"
        + "  plugins: {score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit}]}}\n"
    )
    made = start(directory, f"--scheduler-config={file}")
    yield made
    stop(made)


@pytest.fixture
def run(cluster: Running, kubectl: str, tmp_path: Path) -> Kubectl:
    return runner(cluster, kubectl, tmp_path)


@pytest.fixture
def begin(cluster: Running, tmp_path: Path) -> Iterator[Start]:
    """Start kube-scheduler with a configuration; its log is `process.log`."""
    with ExitStack() as stack:
        count = iter(range(100))

        def launch(config: str, *flags: str) -> subprocess.Popen[str]:
            number = next(count)
            file, log = tmp_path / f"config-{number}.yaml", tmp_path / f"log-{number}"
            connection = f"clientConnection: {{kubeconfig: {cluster.kubeconfig}}}\n"
            file.write_text(HEAD + connection + config)
            process = stack.enter_context(running("kube-scheduler", f"--config={file}", *flags, log=log))
            process.log = log  # type: ignore[attr-defined]
            return process

        yield launch


def _pods(name: str, count: int, scheduler: str, cpu: str = "10m") -> str:
    items = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{name}-{number}", "labels": {"set": name}},
            "spec": {
                "schedulerName": scheduler,
                "containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}],
            },
        }
        for number in range(count)
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _places(run: Kubectl, name: str) -> list[str]:
    return [pod["spec"].get("nodeName", "") for pod in get(run, "pods", "-l", f"set={name}")["items"]]


def test_a_profile_of_ups_scheduler_packs(run: Kubectl) -> None:
    run("apply", "-f", "-", stdin=_pods("packed", 6, "packer", "1"))
    eventually(lambda: all(_places(run, "packed")))
    assert len(set(_places(run, "packed"))) == 1


def test_a_second_scheduler_with_an_extender_takes_its_own_pods(
    run: Kubectl, begin: Start, extender: str
) -> None:
    run("apply", "-f", "-", stdin=_pods("picky", 5, "picky"))
    begin(
        "leaderElection: {leaderElect: false}\nprofiles: [{schedulerName: picky}]\n"
        f"extenders: [{{urlPrefix: '{extender}', filterVerb: filter, nodeCacheCapable: true}}]\n",
        "--secure-port=0",
    )
    eventually(lambda: set(_places(run, "picky")) == {"node-2"})


def test_a_killed_scheduler_leaves_no_pod_behind(run: Kubectl, begin: Start) -> None:
    """Of two copies that wait for one lease the leader is killed while it binds; the other one finishes."""
    config = f"leaderElection: {SHORT}\nprofiles: [{{schedulerName: second}}]\n"
    copies = [begin(config, "--secure-port=0")]
    eventually(lambda: "second" in run("get", "leases", "-n", "kube-system", "-o", "name"))
    copies.append(begin(config, "--secure-port=0"))
    run("apply", "-f", "-", stdin=_pods("mass", 120, "second"))
    eventually(lambda: any(_places(run, "mass")))
    copies[0].kill()
    eventually(lambda: all(_places(run, "mass")), 60)
    assert copies[1].poll() is None
    events = get(run, "events", "--field-selector=reason=Scheduled")["items"]
    told = [e["involvedObject"]["name"] for e in events if e["involvedObject"]["name"].startswith("mass-")]
    assert len(told) == len(set(told))


def test_configz_and_readyz(begin: Start, cluster: Running) -> None:
    """What the process runs with, for those who may know."""
    user = yaml.safe_load(cluster.kubeconfig.read_text())["users"][0]["user"]
    authority = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    with tempfile.NamedTemporaryFile() as ca:
        ca.write(b64decode(authority["certificate-authority-data"]))
        ca.flush()
        begin(
            "parallelism: 7\nleaderElection: {leaderElect: false}\nprofiles: [{schedulerName: idle}]\n",
            f"--secure-port={PORT}",
            "--bind-address=127.0.0.1",
            f"--client-ca-file={ca.name}",
        )
        eventually(lambda: _get("/readyz") == "ok")
    assert _get("/configz") == "403"
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"]))
        pair.flush()
        config = json.loads(_get("/configz", pair.name))["componentconfig"]
    assert config["parallelism"] == 7
    assert config["profiles"][0]["schedulerName"] == "idle"


def _get(path: str, pair: str = "") -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair:
        context.load_cert_chain(pair)
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{PORT}{path}", context=context, timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.code)
    except (urllib.error.URLError, OSError):
        return ""


def test_a_file_that_is_wrong_ends_the_start_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.yaml"
    file.write_text(HEAD + "profiles: [{plugins: {filter: {enabled: [{name: Typo}]}}}]\n")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("apiVersion: v1\nkind: Config\n")
    done = call("up", "--ephemeral", "--scheduler-config", str(file), "--secure-port=0", home=tmp_path)
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == (
        "Error: initializing profiles: creating profile for scheduler name default-scheduler: FilterPlugin "
        '"Typo" does not exist'
    )
