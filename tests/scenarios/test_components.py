"""Each component in a process of its own, over HTTPS, with a kubeconfig: together they do the main job."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import Running
from tests.scenarios.processes import call, eventually, ready_line, running
from tests.scenarios.test_main_job import Kubectl, get, runner

Start = Callable[..., subprocess.Popen[str]]
_SHORT = (
    "--leader-elect-lease-duration=3s",
    "--leader-elect-renew-deadline=2s",
    "--leader-elect-retry-period=500ms",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("components")


@pytest.fixture(scope="module")
def start(data: Path) -> Iterator[Start]:
    """Start a component; all end with the module."""
    with ExitStack() as stack:
        count = iter(range(100))

        def begin(name: str, *flags: str) -> subprocess.Popen[str]:
            log = data / f"{name}-{next(count)}.log"
            process = stack.enter_context(running(name, *flags, log=log))
            process.log = log  # type: ignore[attr-defined]
            return process

        yield begin


@pytest.fixture(scope="module")
def server(data: Path, start: Start) -> str:
    process = start(
        "kube-apiserver", "--data-dir", str(data / "d"), "--secure-port=0", "--bind-address=127.0.0.1"
    )
    return ready_line(process, process.log).split()[4]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def cluster(data: Path, server: str, start: Start) -> Path:
    """All components; their data directory."""
    directory = data / "d"
    manager = str(directory / "kube-controller-manager.kubeconfig")
    start(
        "kube-controller-manager",
        f"--kubeconfig={manager}",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={directory / 'pki' / 'sa.key'}",
        "--secure-port=0",
        *_SHORT,
    )
    start(
        "kube-scheduler",
        f"--kubeconfig={directory / 'kube-scheduler.kubeconfig'}",
        "--secure-port=0",
        *_SHORT,
    )
    start("nodes", f"--kubeconfig={directory / 'nodes.kubeconfig'}", "--count=2")
    return directory


@pytest.fixture
def run(cluster: Path, server: str, kubectl: str, tmp_path: Path) -> Kubectl:
    return runner(Running(server, cluster / "kubeconfig", None), kubectl, tmp_path)  # type: ignore[arg-type]


def test_the_main_job(run: Kubectl) -> None:
    eventually(lambda: "node-1" in run("get", "nodes"))
    run("wait", "--for=condition=Ready", "node/node-0", "node/node-1", "--timeout=30s")
    run("create", "deployment", "web", "--image=nginx", "--replicas=3")
    assert "successfully rolled out" in run("rollout", "status", "deployment/web", "--timeout=60s")
    run("expose", "deployment", "web", "--port=80")
    run("wait", "--for=jsonpath={.subsets[0].addresses[2].ip}", "endpoints/web", "--timeout=20s")


def test_controllers_act_as_service_accounts(run: Kubectl) -> None:
    accounts = {a["metadata"]["name"] for a in get(run, "serviceaccounts", "-n", "kube-system")["items"]}
    assert {"deployment-controller", "replicaset-controller"} <= accounts


def test_token_secrets_get_tokens_that_the_server_takes(run: Kubectl, server: str) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "old", "annotations": {"kubernetes.io/service-account.name": "default"}},
    }
    run("apply", "-f", "-", stdin=json.dumps(manifest))
    run("wait", "--for=jsonpath={.data.token}", "secret/old", "--timeout=20s")
    token = run("get", "secret", "old", "-o", "go-template={{.data.token|base64decode}}")
    door = ("--kubeconfig=/dev/null", f"--server={server}", "--insecure-skip-tls-verify", f"--token={token}")
    assert "system:serviceaccount:default:default" in run("auth", "whoami", *door)


def _holder(run: Kubectl, name: str) -> str:
    return str(get(run, "lease", name, "-n", "kube-system")["spec"]["holderIdentity"])


def test_leading_is_told_by_a_lease_and_an_event(run: Kubectl) -> None:
    for name in ("kube-scheduler", "kube-controller-manager"):
        eventually(lambda name=name: name in run("get", "leases", "-n", "kube-system", "-o", "name"))  # type: ignore[misc]
        message = f"{_holder(run, name)} became leader"
        eventually(lambda m=message: m in run("get", "events", "-n", "kube-system"))  # type: ignore[misc]


def test_of_two_schedulers_one_acts_and_the_other_takes_over(
    run: Kubectl, cluster: Path, start: Start
) -> None:
    flags = (f"--kubeconfig={cluster / 'kubeconfig'}", "--secure-port=0", *_SHORT)
    names = ("--leader-elect-resource-name=second",)
    first = start("kube-scheduler", *flags, *names)
    eventually(
        lambda: "coordination.k8s.io/second" in run("get", "leases", "-n", "kube-system", "-o", "name")
    )
    holder = _holder(run, "second")
    second = start("kube-scheduler", *flags, *names)
    eventually(lambda: "attempting to acquire" in second.log.read_text())  # type: ignore[attr-defined]
    assert _holder(run, "second") == holder
    first.terminate()
    assert first.wait(timeout=10) == 0
    eventually(lambda: _holder(run, "second") not in ("", holder))
    run(
        "patch",
        "lease",
        "second",
        "-n",
        "kube-system",
        "--type=merge",
        "-p",
        '{"spec":{"holderIdentity":"thief"}}',
    )
    assert second.wait(timeout=20) == 1
    assert "Error: Leaderelection lost: " in second.log.read_text()  # type: ignore[attr-defined]


def test_health_and_metrics_of_a_component(cluster: Path, start: Start, run: Kubectl) -> None:
    kubeconfig = cluster / "kube-controller-manager.kubeconfig"
    start(
        "kube-controller-manager",
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--secure-port=27257",
        "--leader-elect-resource-name=third",
    )
    eventually(lambda: _fetch("/healthz") == (200, "ok"))
    assert "[+]leaderElection ok" in _fetch("/livez?verbose")[1]
    eventually(lambda: "[+]deployment-controller ok" in _fetch("/healthz?verbose")[1])
    assert _fetch("/healthz/garbage-collector-controller") == (200, "ok")
    code, text = _fetch("/metrics")
    assert code == 403
    assert 'User \\"system:anonymous\\" cannot get path \\"/metrics\\"' in text
    run(
        "create",
        "clusterrole",
        "scrape",
        "--verb=get",
        "--non-resource-url=/metrics,/configz,/flagz,/statusz",
    )
    run("create", "clusterrolebinding", "scrape", "--clusterrole=scrape", "--serviceaccount=default:default")
    token = run("create", "token", "default").strip()
    code, text = _fetch("/metrics", token)
    assert code == 200
    assert 'workqueue_depth{name="deployment"} 0.0' in text
    assert 'leader_election_master_status{name="third"} 1.0' in text
    assert (
        'running_managed_controllers{manager="kube-controller-manager",name="deployment-controller"} 1.0'
        in text
    )
    config = json.loads(_fetch("/configz", token)[1])["kubecontrollermanager.config.k8s.io"]
    assert config["Generic"]["LeaderElection"]["ResourceName"] == "third"
    assert config["Generic"]["LeaderElection"]["LeaseDuration"] == "15s"
    assert config["DeploymentController"] == {"ConcurrentDeploymentSyncs": 5}
    assert "\nsecure-port=27257\n" in _fetch("/flagz", token)[1]
    assert _fetch("/statusz", token)[1].startswith("\nkube-controller-manager statusz\nWarning: ")
    status = json.loads(_fetch("/statusz", token, "application/json;v=v1beta1;g=config.k8s.io;as=Statusz")[1])
    assert status["kind"] == "Statusz"
    assert "/configz" in status["paths"]
    assert _fetch("/metrics", "wrong")[0] == 401


def _fetch(path: str, token: str = "", accept: str = "*/*") -> tuple[int, str]:
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"https://127.0.0.1:27257{path}", headers=headers)
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, context=context, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def test_a_second_api_server_on_the_same_data_says_so(server: str, data: Path) -> None:
    done = call("kube-apiserver", "--data-dir", str(data / "d"), "--secure-port=0", home=data)
    assert done.returncode == 1
    assert "is in use by another process" in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_controller_was_refused_anything(data: Path, run: Kubectl) -> None:
    """With --use-service-account-credentials each acts under its own account, with upstream's role for it."""
    run("rollout", "status", "deployment", "--timeout=60s")
    logs = [log.read_text() for log in data.glob("kube-controller-manager-*.log")]
    assert logs
    refused = [line for text in logs for line in text.splitlines() if "is forbidden" in line]
    assert refused == []
