"""`pilothouse up` and `down`: the foreground, the background, and everything that can be in the way."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.cli import state
from tests.conftest import Running
from tests.scenarios.processes import call, eventually, ready_line, running
from tests.scenarios.test_main_job import get, runner


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose clusters are stopped in the end."""
    yield tmp_path
    for pid_file in tmp_path.glob("**/pilothouse.pid"):
        call("down", "--data-dir", str(pid_file.parent), home=tmp_path)


def _up(*flags: str, home: Path) -> subprocess.CompletedProcess[str]:
    return call("up", "-d", "--secure-port=0", *flags, home=home)


def _pid(home: Path) -> int:
    return int((home / "pilothouse" / "pilothouse.pid").read_text())


def test_the_background_cluster_is_ready_when_up_returns_and_gone_when_down_does(
    home: Path, kubectl: str
) -> None:
    done = _up(home=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Ready in ")
    assert done.stdout.count("\n") == 1, "no hints and no colours in a pipe"
    kubeconfig = home / "pilothouse" / "kubeconfig"
    assert done.stdout.endswith(f"kubeconfig: {kubeconfig}\n")
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    run = runner(Running("", kubeconfig, None), kubectl, home)  # type: ignore[arg-type]
    eventually(lambda: len(get(run, "nodes")["items"]) == 3)
    pid = _pid(home)
    stopped = call("down", home=home)
    assert (stopped.returncode, stopped.stdout) == (0, f"Stopped the cluster on {home / 'pilothouse'}.\n")
    assert not state.is_alive(pid)
    assert call("down", home=home).returncode == 1


def test_a_second_up_on_the_same_data_says_so(home: Path) -> None:
    assert _up("--nodes=0", home=home).returncode == 0
    for flags in (["up"], ["up", "-d"], ["up", "--ephemeral"]):
        second = call(*flags, "--secure-port=0", home=home)
        assert second.returncode == 1
        assert f"a cluster runs on {home / 'pilothouse'} already (process {_pid(home)})" in second.stderr
        assert "pilothouse down" in second.stderr
        assert second.stderr.count("\n") == 1


def test_one_in_memory_with_a_kubeconfig_of_its_own_may_run_beside(home: Path) -> None:
    assert _up("--nodes=0", home=home).returncode == 0
    kubeconfig = home / "other"
    flags = ("--ephemeral", "--nodes=0", "--secure-port=0", f"--kubeconfig={kubeconfig}")
    with running("up", *flags, log=home / "log") as process:
        ready_line(process, home / "log")
        assert kubeconfig.exists()


def test_what_kill_9_left_behind_is_in_nobodys_way(home: Path, kubectl: str) -> None:
    assert _up("--nodes=1", home=home).returncode == 0
    kubeconfig = home / "pilothouse" / "kubeconfig"
    run = runner(Running("", kubeconfig, None), kubectl, home)  # type: ignore[arg-type]
    authority = (home / "pilothouse" / "pki" / "ca.crt").read_bytes()
    run("create", "service", "clusterip", "kept", "--tcp=80")
    address = get(run, "service", "kept")["spec"]["clusterIP"]
    pid = _pid(home)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not state.is_alive(pid))
    down = call("down", home=home)
    assert (down.returncode, "no cluster runs" in down.stderr) == (1, True)
    assert _up("--nodes=1", home=home).returncode == 0
    assert (home / "pilothouse" / "pki" / "ca.crt").read_bytes() == authority
    assert get(run, "service", "kept")["spec"]["clusterIP"] == address
    run("create", "service", "clusterip", "more", "--tcp=80")
    assert get(run, "service", "more")["spec"]["clusterIP"] != address


def test_a_restart_on_the_same_port_keeps_the_kubeconfig(home: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kubeconfig = home / "pilothouse" / "kubeconfig"
    written = []
    for _ in range(2):
        done = call("up", "-d", f"--secure-port={port}", "--nodes=0", home=home)
        assert done.returncode == 0, done.stderr
        written.append(kubeconfig.read_bytes())
        assert call("down", home=home).returncode == 0
    assert written[0] == written[1]


@pytest.mark.parametrize("background", [False, True])
def test_a_port_that_is_taken_is_told(home: Path, background: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = call("up", f"--secure-port={port}", *(["-d"] if background else []), home=home)
    assert done.returncode == 1
    assert f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("background", [False, True])
def test_a_data_directory_that_cannot_be_is_told(home: Path, background: bool) -> None:
    (home / "file").write_text("")
    done = call("up", f"--data-dir={home / 'file' / 'x'}", *(["-d"] if background else []), home=home)
    assert done.returncode == 1
    assert f"Error: cannot write to {home / 'file' / 'x'}: Not a directory" in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_usage_in_the_background_exits_2(home: Path) -> None:
    done = call("up", "-d", "--secure-port=0", "--enable-admission-plugins=Nonsense", home=home)
    assert done.returncode == 2
    assert "Nonsense" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_within_two_seconds_though_somebody_watches(
    number: signal.Signals, home: Path, kubectl: str
) -> None:
    kubeconfig, log = home / "kubeconfig", home / "log"
    flags = ("--ephemeral", "--secure-port=0", f"--kubeconfig={kubeconfig}", f"--data-dir={home / 'd'}")
    with running("up", *flags, log=log) as process:
        ready_line(process, log)
        watch = subprocess.Popen(
            [kubectl, f"--kubeconfig={kubeconfig}", "get", "nodes", "-w"], stdout=subprocess.PIPE, text=True
        )
        assert watch.stdout is not None
        watch.stdout.readline()
        started = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - started < 2
        watch.wait(timeout=10)
        assert "Traceback" not in log.read_text()
        assert not (home / "d" / "pilothouse.pid").exists()


def test_nothing_is_left_of_a_cluster_in_memory(home: Path) -> None:
    temporary = home / "tmp"
    temporary.mkdir()
    flags = (
        "--ephemeral",
        "--secure-port=0",
        f"--kubeconfig={home / 'kubeconfig'}",
        f"--data-dir={home / 'd'}",
    )
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(temporary)
    try:
        with running("up", *flags, log=home / "log") as process:
            ready_line(process, home / "log")
            assert list(temporary.iterdir())
    finally:
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before
    assert not list(temporary.iterdir())
    assert not list((home / "d").iterdir())
