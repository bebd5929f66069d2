"""`pilothouse explain` and `pilothouse simulate` beside a cluster that runs; and what the scheduler itself answers."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Running, start, stop
from tests.etcds import free_port, give_back
from tests.scenarios.processes import call, eventually, running
from tests.scenarios.test_main_job import Kubectl, get, runner

PORT = 27810
OWN_PORT = free_port()
"""Of the cluster's own scheduler."""
HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = start(
        tmp_path_factory.mktemp("explained"),
        "--data-dir",
        str(tmp_path_factory.mktemp("data") / "c"),
        f"--scheduler-secure-port={OWN_PORT}",
        "--feature-gates=StorageCapacityScoring=true",
    )
    yield made
    stop(made)
    give_back(OWN_PORT)


@pytest.fixture
def run(cluster: Running, kubectl: str, tmp_path: Path) -> Kubectl:
    return runner(cluster, kubectl, tmp_path)


def pod(name: str, cpu: str = "1", **spec: Any) -> str:
    container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
    meta = {"name": name}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container], **spec}}
    )


def wait(run: Kubectl, name: str, condition: str) -> None:
    run("wait", f"--for=condition={condition}", f"pod/{name}", "--timeout=20s")


def explain(cluster: Running, tmp_path: Path, *arguments: str) -> str:
    done = call("explain", *arguments, f"--kubeconfig={cluster.kubeconfig}", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    return done.stdout


def test_a_pod_that_has_a_node(run: Kubectl, cluster: Running, tmp_path: Path) -> None:
    run("apply", "-f", "-", stdin=pod("placed"))
    wait(run, "placed", "Ready")
    node = get(run, "pod", "placed")["spec"]["nodeName"]
    lines = explain(cluster, tmp_path, "pod", "placed").splitlines()
    assert lines[:2] == [
        "Pod default/placed, scheduler default-scheduler",
        f"It is on {node}. What follows looks at it as if it were not.",
    ]
    assert sum(line.startswith("node-") for line in lines) == 3
    assert any(line.startswith("NODE     TOTAL   TaintToleration ×3   NodeResourcesFit ×1") for line in lines)


def test_a_pod_that_fits_nowhere_in_the_events_words(run: Kubectl, cluster: Running, tmp_path: Path) -> None:
    run("apply", "-f", "-", stdin=pod("huge", "100", tolerations=[{"operator": "Exists"}]))
    wait(run, "huge", "PodScheduled=false")
    condition = next(
        c for c in get(run, "pod", "huge")["status"]["conditions"] if c["type"] == "PodScheduled"
    )
    found = json.loads(explain(cluster, tmp_path, "pod/huge", "-o", "json"))
    assert found["message"] == condition["message"] == found["queue"]["message"]
    assert (found["queue"]["place"], found["queue"]["since"]) == (
        "unschedulable",
        condition["lastTransitionTime"],
    )
    assert [(each["node"], each["refusals"][0]["reason"]) for each in found["nodes"]] == [
        (f"node-{number}", "Insufficient cpu") for number in range(3)
    ]
    text = explain(cluster, tmp_path, "pod", "huge", "--nodes=1")
    assert f"It fits nowhere: {condition['message']}" in text
    assert "… and 2 more (--nodes 0 shows all)" in text


def test_a_gated_pod_and_what_preemption_would_do(run: Kubectl, cluster: Running, tmp_path: Path) -> None:
    names = [f"filler-{number}" for number in range(3)]
    for name in names:
        run("apply", "-f", "-", stdin=pod(name, "14"))
    for name in names:
        wait(run, name, "PodScheduled")
    gated = pod("vip", "10", schedulingGates=[{"name": "wait"}], priorityClassName="system-cluster-critical")
    run("apply", "-f", "-", stdin=gated)
    text = explain(cluster, tmp_path, "pod", "vip")
    assert "It is gated by SchedulingGates since " in text
    assert "Preemption would make room on node-" in text
    found = json.loads(explain(cluster, tmp_path, "pod", "vip", "-o=json"))["preemption"]
    assert {v["name"] for each in found["candidates"] for v in each["victims"]} <= {*names, "placed"}
    assert all(get(run, "pod", name)["metadata"].get("deletionTimestamp") is None for name in names)
    run("delete", "pod", "vip", *names, "--now")


def test_who_may_not_read_pods_is_told(cluster: Running, tmp_path: Path) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "alicetoken"}
    file = tmp_path / "alice"
    file.write_text(yaml.safe_dump(config))
    done = call("explain", "pod", "huge", f"--kubeconfig={file}", home=tmp_path)
    assert done.returncode == 1
    assert 'nodes is forbidden: User "alice" cannot list resource "nodes"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("pod", "nobody"), 1, 'pods "nobody" not found'),
        ((), 2, "say which pod: pilothouse explain pod NAME"),
        (("pod", "huge", "-o", "xml"), 2, "json, or nothing for tables"),
        (("pod", "huge", "--snapshot=x.yaml"), 2, "--kubeconfig and --snapshot name two clusters"),
    ],
)
def test_mistakes_in_one_line(
    cluster: Running, tmp_path: Path, arguments: tuple[str, ...], code: int, text: str
) -> None:
    done = call("explain", *arguments, f"--kubeconfig={cluster.kubeconfig}", home=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- the scheduler's own ----------------------------------------------------------------------------------


def test_the_scheduler_answers_those_who_may_know(run: Kubectl, cluster: Running, tmp_path: Path) -> None:
    """And besides what a snapshot tells, its queue: attempts, and who refused the pod."""
    ca, pair = _administrator(cluster, tmp_path)
    file = tmp_path / "scheduler.yaml"
    file.write_text(
        f"{HEAD}clientConnection: {{kubeconfig: {cluster.kubeconfig}}}\n"
        "leaderElection: {leaderElect: false}\nprofiles: [{schedulerName: mine}]\n"
    )
    flags = (
        f"--config={file}",
        f"--secure-port={PORT}",
        "--bind-address=127.0.0.1",
        f"--client-ca-file={ca}",
    )
    run("apply", "-f", "-", stdin=pod("mine", "100", schedulerName="mine"))
    run("apply", "-f", "-", stdin=pod("theirs", "100"))
    with running("kube-scheduler", *flags, log=tmp_path / "log"):
        wait(run, "mine", "PodScheduled=false")
        eventually(lambda: _get("/explain/namespaces/default/pods/mine", pair)[0] == 200)
        found = json.loads(_get("/explain/namespaces/default/pods/mine", pair)[1])
        assert found["queue"]["place"] == "unschedulable"
        assert found["queue"]["attempts"] >= 1
        assert found["queue"]["rejectedBy"] == ["NodeResourcesFit"]
        assert found["message"] == found["queue"]["message"]
        assert _get("/explain/namespaces/default/pods/mine")[0] == 403
        assert _get("/explain/namespaces/default/pods/nobody", pair)[0] == 404
        assert _get("/explain/nonsense", pair)[0] == 404
        code, text = _get("/explain/namespaces/default/pods/theirs", pair)
        assert code == 400
        assert "pod default/theirs is for scheduler default-scheduler, and here is mine" in text
    run("delete", "pod", "mine", "theirs", "--now")


def _administrator(cluster: Running, directory: Path) -> tuple[Path, Path]:
    """Files: the cluster's CA, and the administrator's certificate with its key."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    ca, pair = directory / "ca.pem", directory / "pair.pem"
    ca.write_bytes(b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    user = config["users"][0]["user"]
    pair.write_bytes(b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"]))
    return ca, pair


def test_the_scheduler_of_up_has_a_port_when_it_is_wanted(
    run: Kubectl, cluster: Running, tmp_path: Path
) -> None:
    _, pair = _administrator(cluster, tmp_path)
    run("apply", "-f", "-", stdin=pod("within", "100"))
    wait(run, "within", "PodScheduled=false")
    found = json.loads(_get("/explain/namespaces/default/pods/within", pair, OWN_PORT)[1])
    assert found["queue"]["rejectedBy"] == ["NodeResourcesFit"]
    assert _get("/readyz", None, OWN_PORT) == (200, "ok")
    assert _get("/metrics", None, OWN_PORT)[0] == 403
    assert "scheduler_schedule_attempts_total" in _get("/metrics", pair, OWN_PORT)[1]
    assert _get("/statusz", None, OWN_PORT)[0] == 403
    assert _get("/statusz", pair, OWN_PORT)[1].startswith("\nkube-scheduler statusz\nWarning: ")
    profile = json.loads(_get("/configz", pair, OWN_PORT)[1])["componentconfig"]["profiles"][0]
    binding = next(each["args"] for each in profile["pluginConfig"] if each["name"] == "VolumeBinding")
    assert len(binding["shape"]) == 2
    run("delete", "pod", "within", "--now")


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = ("--ephemeral", "--secure-port=0", f"--scheduler-secure-port={port}")
        done = call("up", *flags, home=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another "
        "--scheduler-secure-port (0 serves nothing)"
    )


def _get(path: str, pair: Path | None = None, port: int = PORT) -> tuple[int, str]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(pair)
    try:
        with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", context=context, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (urllib.error.URLError, OSError):
        return 0, ""


# -- simulate ---------------------------------------------------------------------------------------------

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: heavy}
spec:
  replicas: 9
  selector: {matchLabels: {app: heavy}}
  template:
    metadata: {labels: {app: heavy}}
    spec: {containers: [{name: c, image: x, resources: {requests: {cpu: "7"}}}]}
"""
NODE = """
apiVersion: v1
kind: Node
metadata: {name: extra}
status: {capacity: {cpu: "16", memory: 64Gi, pods: "110"}}
"""


def simulated(tmp_path: Path, *arguments: str) -> Any:
    done = call("simulate", *arguments, "-o", "json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_cluster_and_what_was_printed_of_it_say_the_same(
    run: Kubectl, cluster: Running, tmp_path: Path
) -> None:
    heavy, extra, printed = tmp_path / "heavy.yaml", tmp_path / "extra.yaml", tmp_path / "printed.yaml"
    heavy.write_text(DEPLOYMENT)
    extra.write_text(NODE)
    kinds = "nodes,pods,pvc,pv,services,priorityclasses,namespaces,storageclasses,daemonsets,replicasets"
    flags = (f"--pods={heavy}", f"--add-nodes={extra}")
    printed.write_text(run("get", kinds, "-A", "-o", "yaml"))
    live = simulated(tmp_path, f"--kubeconfig={cluster.kubeconfig}", *flags)
    assert live == simulated(tmp_path, f"--snapshot={printed}", *flags)
    assert live == simulated(tmp_path, f"--kubeconfig={cluster.kubeconfig}", *flags)
    assert [(each["template"], each["count"]) for each in live["added"]] == [("extra", 2)]
    heavies = [each for each in live["placements"] if each["owner"] == "Deployment/heavy"]
    assert len(heavies) == 9
    assert {each["state"] for each in heavies} == {"bound"}
    assert "heavy" not in run("get", "deployments,pods", "-o", "name")


def test_simulated_places_are_those_that_the_cluster_takes(
    run: Kubectl, cluster: Running, tmp_path: Path
) -> None:
    """Where only one outcome is right: how many of a deployment's pods go to each node."""
    heavy = tmp_path / "heavy.yaml"
    heavy.write_text(DEPLOYMENT)
    found = simulated(tmp_path, f"--kubeconfig={cluster.kubeconfig}", f"--pods={heavy}")
    said = sorted(each["node"] for each in found["placements"] if each["owner"] == "Deployment/heavy")
    run("apply", "-f", str(heavy))

    def places() -> list[str]:
        pods = get(run, "pods", "-l", "app=heavy")["items"]
        return sorted(each["spec"].get("nodeName", "") for each in pods)

    eventually(lambda: places() == said)
    run("delete", "deployment", "heavy")


def test_a_stopped_cluster_and_its_snapshot(tmp_path: Path) -> None:
    heavy = tmp_path / "heavy.yaml"
    heavy.write_text(DEPLOYMENT)
    data, saved = tmp_path / "data", tmp_path / "saved.db"
    up = call("up", "-d", f"--data-dir={data}", "--secure-port=0", "--nodes=2", home=tmp_path)
    assert up.returncode == 0, up.stderr
    try:
        of_running = call("simulate", f"--data-dir={data}", f"--pods={heavy}", home=tmp_path)
        assert call("snapshot", "save", str(saved), f"--data-dir={data}", home=tmp_path).returncode == 0
    finally:
        call("down", f"--data-dir={data}", home=tmp_path)
    assert of_running.stdout.splitlines()[-1] == "4 of 9 pods find a place.", of_running.stderr
    for source in (f"--data-dir={data}", f"--snapshot={data}", f"--snapshot={saved}"):
        done = call("simulate", source, f"--pods={heavy}", "--fail-on-unplaced", home=tmp_path)
        assert done.stdout == of_running.stdout, done.stderr
        assert done.returncode == 1
