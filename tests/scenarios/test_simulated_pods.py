"""What people get who look into simulated pods with a real kubectl: logs, exec, attach, port-forward, cp, top, debug;
and clusters that stage files drive."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Running, start, stop

Kubectl = Callable[..., str]
Answer = tuple[int, str]

PODS = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
  annotations: {pilothouse.dev/log-lines: "one\\ntwo\\nthree"}
spec:
  containers: [{name: c, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: two}}
spec:
  initContainers: [{name: i, image: busybox, command: [echo, first]}]
  containers:
  - {name: a, image: busybox, command: [sh, -c, "echo from a; sleep 3600"]}
  - {name: b, image: busybox, command: [sh, -c, "echo from b; sleep 3600"]}
---
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec:
  containers: [{name: c, image: busybox, command: [sh, -c, "echo falling; exit 3"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: absent}
spec:
  containers: [{name: c, image: "busybox:non-existent"}]
"""


class Shell:
    """kubectl on one cluster. Arguments, and what it answers: exit code and all it prints."""

    def __init__(self, cluster: Running, kubectl: str, home: Path) -> None:
        self._kubectl = kubectl
        self._environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(home)}

    def __call__(self, *arguments: str, stdin: str = "") -> Answer:
        done = subprocess.run(
            [self._kubectl, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def good(self, *arguments: str, stdin: str = "") -> str:
        code, printed = self(*arguments, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(arguments)}: {printed}"
        return printed

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self._kubectl, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
        )


@pytest.fixture(scope="module")
def shell(cluster: Running, kubectl: str, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(cluster, kubectl, tmp_path_factory.mktemp("home"))
    shell.good("apply", "-f", "-", stdin=PODS)
    shell.good("wait", "--for=condition=Ready", "pod/web", "pod/two", "--timeout=20s")
    restarts = "{.status.containerStatuses[0].restartCount}=1"
    shell.good("wait", f"--for=jsonpath={restarts}", "pod/crash", "--timeout=20s")
    return shell


# -- logs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("web",), "one\ntwo\nthree\n"),
        (("web", "--tail=1"), "three\n"),
        (("web", "--tail=0"), ""),
        (("web", "--limit-bytes=5"), "one\nt"),
        (("web", "--since=1h"), "one\ntwo\nthree\n"),
        (("web", "--since-time=2999-01-01T00:00:00Z"), ""),
        (("two", "-c", "b"), "from b\n"),
        (("two", "-c", "i"), "first\n"),
        (("-l", "app=two", "-c", "a"), "from a\n"),
        (("crash",), "falling\n"),
        (("crash", "-p"), "falling\n"),
    ],
)
def test_logs(shell: Shell, arguments: tuple[str, ...], printed: str) -> None:
    assert shell.good("logs", *arguments) == printed


def test_logs_of_all_containers(shell: Shell) -> None:
    lines = shell.good("logs", "two", "--all-containers", "--prefix").splitlines()
    assert sorted(lines) == ["[pod/two/a] from a", "[pod/two/b] from b", "[pod/two/i] first"]


def test_logs_with_their_times(shell: Shell) -> None:
    first = shell.good("logs", "web", "--timestamps").splitlines()[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z one", first)


def test_logs_that_are_followed_end_with_the_container(shell: Shell) -> None:
    script = "echo begin; sleep 2; echo end"
    shell.good("run", "short", "--image=busybox", "--restart=Never", "--", "sh", "-c", script)
    shell.good("wait", "--for=jsonpath={.status.phase}=Running", "pod/short", "--timeout=20s")
    begun = time.monotonic()
    assert shell.good("logs", "-f", "short") == "begin\nend\n"
    assert time.monotonic() - begun > 0.5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("web", "-p"), 'previous terminated container "c" in pod "web" not found'),
        (("web", "-c", "d"), "container d is not valid for pod web"),
        (("absent",), 'container "c" in pod "absent" is waiting to start: '),
        (("nobody",), 'pods "nobody" not found'),
    ],
)
def test_logs_that_there_are_not(shell: Shell, arguments: tuple[str, ...], told: str) -> None:
    code, printed = shell("logs", *arguments)
    assert code == 1
    assert told in printed


# -- exec, attach, cp, port-forward, top ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (("echo", "hello"), (0, "hello\n")),
        (("true",), (0, "")),
        (("false",), (1, "command terminated with exit code 1\n")),
        (("sh", "-c", "echo a; echo b; exit 4"), (4, "a\nb\ncommand terminated with exit code 4\n")),
    ],
)
def test_exec_of_what_needs_nothing_to_run(shell: Shell, command: tuple[str, ...], answer: Answer) -> None:
    code, printed = shell("exec", "web", "-c", "c", "--", *command)
    assert (code, printed) == answer


def test_exec_takes_its_time(shell: Shell) -> None:
    begun = time.monotonic()
    assert shell("exec", "web", "-c", "c", "--", "sh", "-c", "sleep 1; echo up") == (0, "up\n")
    assert time.monotonic() - begun > 1


@pytest.mark.parametrize("command", [("ls", "-l"), ("cat", "/etc/hosts"), ("sh",)])
def test_exec_of_anything_else_says_that_nothing_runs(shell: Shell, command: tuple[str, ...]) -> None:
    code, printed = shell("exec", "web", "-c", "c", "--", *command)
    assert code == 1
    assert re.fullmatch(
        r"Error from server \(BadRequest\): pod web is on the simulated node node-\d: simulated containers run no "
        r"commands \(only the outcome of true, false, exit, sleep and echo is known\)\n",
        printed,
    )


def test_exec_into_a_container_that_does_not_run(shell: Shell) -> None:
    code, printed = shell("exec", "absent", "--", "true")
    assert code == 1
    assert 'unable to upgrade connection: container not found ("c")' in printed


def test_attach_sees_what_is_printed(shell: Shell) -> None:
    script = "sleep 2; echo done; exit 3"
    code, printed = shell(
        "run",
        "watched",
        "--attach",
        "--quiet",
        "--image=busybox",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        script,
    )
    assert code == 3
    assert "done\n" in printed


def test_attach_lasts_as_long_as_the_container(shell: Shell) -> None:
    attached = shell.start("attach", "web", "-c", "c")
    with pytest.raises(subprocess.TimeoutExpired):
        attached.wait(timeout=2)
    attached.kill()
    attached.communicate()
    assert shell("exec", "web", "-c", "c", "--", "true") == (0, "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("port-forward", "web", "8080:80"), "simulated containers listen on no port"),
        (("cp", "web:/etc/hosts", "hosts"), "simulated containers run no commands"),
        (("top", "pod"), "error: Metrics API not available"),
        (("top", "node"), "error: Metrics API not available"),
    ],
)
def test_what_simulated_pods_cannot_do(shell: Shell, arguments: tuple[str, ...], told: str) -> None:
    code, printed = shell(*arguments)
    assert code == 1
    assert told in printed


def test_debug_adds_a_container(shell: Shell) -> None:
    shell("debug", "web", "--image=busybox", "-c", "look", "--attach=false", "--", "sleep", "600")
    running = "{.status.ephemeralContainerStatuses[0].state.running.startedAt}"
    shell.good("wait", f"--for=jsonpath={running}", "pod/web", "--timeout=20s")
    assert "look" in shell.good("describe", "pod", "web")


# -- stage files ------------------------------------------------------------------------------------------

STAGES = """\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: node-initialize}
spec:
  resourceRef: {kind: Node}
  selector:
    matchExpressions:
    - key: '.status.conditions.[] | select( .type == "Ready" ) | .status'
      operator: NotIn
      values: ["True"]
  next:
    statusTemplate: |
      conditions:
      {{ range NodeConditions }}
      - type: {{ .type | Quote }}
        status: {{ .status | Quote }}
        reason: {{ .reason | Quote }}
        message: {{ .message | Quote }}
        lastHeartbeatTime: {{ Now | Quote }}
      {{ end }}
      addresses: [{type: InternalIP, address: {{ NodeIP }}}]
      capacity: {cpu: 1k, memory: 1Ti, pods: "1000"}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.podIP, operator: DoesNotExist}
  next:
    statusTemplate: |
      phase: Running
      hostIP: {{ NodeIPWith .spec.nodeName }}
      podIP: {{ PodIPWith .spec.nodeName (or .spec.hostNetwork false) .metadata.uid }}
      conditions: [{type: Ready, status: "True"}, {type: ContainersReady, status: "True"}]
      containerStatuses:
      {{ range .spec.containers }}
      - {name: {{ .name }}, image: {{ .image }}, ready: true, state: {running: {startedAt: {{ Now }}}}}
      {{ end }}
"""


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("staged")
    (directory / "stages.yaml").write_text(STAGES)
    running = start(directory, "--ephemeral", "--stage-file", str(directory / "stages.yaml"))
    yield running
    assert stop(running) == 0


def test_stage_files_drive_nodes_and_pods(staged: Running, kubectl: str, tmp_path: Path) -> None:
    shell = Shell(staged, kubectl, tmp_path)
    shell.good("wait", "--for=condition=Ready", "node", "--all", "--timeout=20s")
    node = json.loads(shell.good("get", "node", "node-0", "-o", "json"))
    assert node["status"]["allocatable"] == {"cpu": "1k", "memory": "1Ti", "pods": "1k"}
    shell.good("create", "deployment", "web", "--image=nginx", "--replicas=5")
    shell.good("rollout", "status", "deployment/web", "--timeout=30s")
    (line, *_) = shell.good("get", "pods", "-o", "wide", "--no-headers").splitlines()
    assert line.split()[1:3] == ["1/1", "Running"]
    assert line.split()[5].startswith("10.244.")
    assert shell.good("logs", line.split()[0]) == ""
    shell.good("delete", "deployment", "web")
    shell.good("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=30s")


def test_a_stage_file_that_is_wrong_is_told_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(STAGES.replace("operator: NotIn", "operator: NotAmong"))
    done = subprocess.run(
        [sys.executable, "-m", "pilothouse", "up", "--ephemeral", "--stage-file", str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")},
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"Error: {file}: stage node-initialize: spec.selector.matchExpressions[0].operator: "
        '"NotAmong" is none of In, NotIn, Exists, DoesNotExist\n'
    )
