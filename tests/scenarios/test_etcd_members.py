"""`pilothouse up --etcd-members` and the commands of an operator, with a real etcd."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.etcd.cluster.supervisor import left_over
from tests.conftest import Running
from tests.etcds import Etcd
from tests.programs import required
from tests.scenarios.processes import call, eventually
from tests.scenarios.test_main_job import get, runner


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A control plane on three members."""
    required("etcd")
    directory = tmp_path_factory.mktemp("members")
    done = _up(directory)
    assert done.returncode == 0, done.stderr + done.stdout
    yield directory
    call("down", "--data-dir", str(directory), home=directory)
    assert not _processes(directory), "down ends every member"


def _up(directory: Path, *flags: str, members: int = 3) -> subprocess.CompletedProcess[str]:
    arguments = ["--data-dir", str(directory), "--secure-port=0", f"--etcd-members={members}", "--nodes=1"]
    return call("up", "-d", *arguments, *flags, home=directory, timeout_s=90)


def _etcd(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return call("etcd", *arguments, "--data-dir", str(directory), home=directory, timeout_s=90)


def _members(directory: Path) -> dict[str, dict[str, Any]]:
    listed = _etcd(directory, "member", "list", "-o", "json")
    assert listed.returncode == 0, listed.stderr
    return {member["name"]: member for member in json.loads(listed.stdout)["members"]}


def _processes(directory: Path) -> dict[str, int]:
    found = {path.parent.name: left_over(path) for path in (directory / "etcd").glob("*/pid")}
    return {name: pid for name, pid in found.items() if pid is not None}


def _all_up(directory: Path) -> bool:
    return all(member["state"] == "up" for member in _members(directory).values())


def test_three_members_carry_the_control_plane(home: Path, kubectl: str) -> None:
    assert len(_processes(home)) == 3
    run = runner(Running("", home / "kubeconfig", None), kubectl, home)  # type: ignore[arg-type]
    eventually(lambda: len(get(run, "nodes")["items"]) == 1)
    assert not (home / "store").exists(), "there is no embedded store beside"
    for path in (home / "etcd", home / "etcd" / "m1", home / "etcd" / "m1" / "data", home / "etcd" / "pki"):
        assert path.stat().st_mode & 0o777 == 0o700, path
    health = _etcd(home, "health")
    assert health.returncode == 0
    assert health.stdout.count(" healthy ") == 3
    status = json.loads(_etcd(home, "status", "-o", "json").stdout)
    assert sum(member["isLeader"] for member in status) == 1


def test_the_clients_port_wants_a_certificate_of_the_clusters_own_ca(home: Path) -> None:
    url = _members(home)["m1"]["clientURLs"][0]
    health = call("etcd", "health", "--endpoints", url, "--command-timeout=2s", home=home)
    assert health.returncode == 1
    pki = home / "etcd" / "pki"
    files = ("--cacert", f"{pki}/ca.crt", "--cert", f"{pki}/client.crt", "--key", f"{pki}/client.key")
    assert call("etcd", "health", "--endpoints", url, *files, home=home).returncode == 0


def test_the_leader_is_replaced_while_the_control_plane_runs(home: Path, kubectl: str) -> None:
    before = _members(home)
    leader = next(name for name, member in before.items() if member["isLeader"])
    removed = _etcd(home, "member", "remove", leader)
    assert removed.returncode == 0, removed.stderr
    assert removed.stdout.startswith(f"Removed {leader} ({before[leader]['id']})")
    assert not (home / "etcd" / leader).exists()
    added = _etcd(home, "member", "add", leader)
    assert added.returncode == 0, added.stderr
    assert "is a learner" in added.stderr
    assert "has a vote" in added.stderr
    after = _members(home)
    assert after.keys() == before.keys()
    assert after[leader]["id"] != before[leader]["id"], "a member that comes back is another one"
    run = runner(Running("", home / "kubeconfig", None), kubectl, home)  # type: ignore[arg-type]
    run("create", "configmap", "after-the-change")


def test_a_change_that_would_lose_the_quorum_is_refused_with_the_reason(home: Path) -> None:
    eventually(lambda: _all_up(home))
    os.kill(_processes(home)["m2"], signal.SIGSTOP)
    try:
        eventually(lambda: _members(home)["m2"]["state"] == "down")
        refused = _etcd(home, "member", "remove", "m3")
        assert refused.returncode == 1
        assert "the cluster has 2 voters and needs 2 of them up, but m2" in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert "m2" in _etcd(home, "member", "add").stderr
        assert _etcd(home, "health", "--command-timeout=1s").returncode == 1
        assert _etcd(home, "defrag").returncode == 1, "one member is down already"
    finally:
        os.kill(_processes(home)["m2"], signal.SIGCONT)
    eventually(lambda: _all_up(home))
    assert set(_members(home)) == {"m1", "m2", "m3"}


def test_a_learner_stays_one_until_it_is_promoted(home: Path) -> None:
    assert _etcd(home, "member", "add", "m4", "--learner").returncode == 0
    assert _members(home)["m4"]["isLearner"]
    second = _etcd(home, "member", "add")
    assert second.returncode == 1
    assert "m4" in second.stderr
    assert "promote or remove it first" in second.stderr
    assert _etcd(home, "member", "promote", "m4").returncode == 0
    assert not _members(home)["m4"]["isLearner"]
    assert _etcd(home, "member", "remove", "m4").returncode == 0


def test_every_member_is_defragmented_and_the_leader_last(home: Path) -> None:
    leader = next(member["clientURLs"][0] for member in _members(home).values() if member["isLeader"])
    done = _etcd(home, "defrag", "-o", "json")
    assert done.returncode == 0, done.stderr
    order = [row["endpoint"] for row in json.loads(done.stdout)]
    assert len(order) == 3
    assert order[-1] == leader


def test_a_snapshot_becomes_a_new_cluster(home: Path, kubectl: str, tmp_path: Path) -> None:
    run = runner(Running("", home / "kubeconfig", None), kubectl, home)  # type: ignore[arg-type]
    run("create", "configmap", "in-the-snapshot")
    file, fresh = tmp_path / "snapshot.db", tmp_path / "fresh"
    saved = _etcd(home, "snapshot", "save", str(file))
    assert saved.returncode == 0, saved.stderr
    restored = _etcd(fresh, "snapshot", "restore", str(file), "--etcd-members=3")
    assert restored.returncode == 0, restored.stderr
    try:
        done = call(
            "up", "-d", "--data-dir", str(fresh), "--secure-port=0", "--nodes=0", home=fresh, timeout_s=90
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert _all_up(fresh)
        other = runner(Running("", fresh / "kubeconfig", None), kubectl, fresh)  # type: ignore[arg-type]
        found = get(other, "configmap", "in-the-snapshot")
        status = json.loads(_etcd(fresh, "status", "-o", "json").stdout)
        newest = int(found["metadata"]["resourceVersion"])
        assert all(member["revision"] > newest + 1_000_000 for member in status), "time does not go backwards"
        assert not {m["id"] for m in status} & {m["id"] for m in _members(home).values()}
    finally:
        call("down", "--data-dir", str(fresh), home=fresh)
    again = _etcd(fresh, "snapshot", "restore", str(file), "--etcd-members=3")
    assert again.returncode == 1, "what is there is not overwritten"


def test_the_embedded_store_answers_the_same_commands(tmp_path: Path) -> None:
    done = call("up", "-d", "--data-dir", str(tmp_path), "--secure-port=0", "--nodes=0", home=tmp_path)
    assert done.returncode == 0, done.stderr
    try:
        (only,) = _members(tmp_path).values()
        assert only["state"] == "up"
        assert only["isLeader"]
        assert _etcd(tmp_path, "health").returncode == 0
        assert json.loads(_etcd(tmp_path, "defrag", "-o", "json").stdout)
    finally:
        call("down", "--data-dir", str(tmp_path), home=tmp_path)
    stopped = _etcd(tmp_path, "health")
    assert stopped.returncode == 1
    assert "is not running" in stopped.stderr
    assert _etcd(tmp_path, "defrag").returncode == 0


def test_after_a_kill_nothing_is_left_and_the_next_start_has_everything(home: Path, kubectl: str) -> None:
    run = runner(Running("", home / "kubeconfig", None), kubectl, home)  # type: ignore[arg-type]
    run("create", "configmap", "before-the-kill")
    os.kill(int((home / "pilothouse.pid").read_text()), signal.SIGKILL)
    eventually(lambda: not _processes(home))
    shutil.rmtree(home / "etcd" / "m3" / "data")
    done = _up(home, members=5)
    assert done.returncode == 0, done.stdout
    log = (home / "pilothouse.log").read_text()
    assert "has 3 members, and --etcd-members 5 does not change that" in log
    assert "The data of m3 is gone, and it does not start without" in log
    assert _members(home)["m3"]["state"] == "down"
    assert get(run, "configmap", "before-the-kill")["kind"] == "ConfigMap"
    assert _etcd(home, "member", "remove", "m3").returncode == 0
    assert _etcd(home, "member", "add").returncode == 0
    assert _all_up(home)


def test_an_embedded_store_is_not_hidden_by_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.db").write_bytes(b"")
    refused = _up(tmp_path)
    assert refused.returncode == 1
    assert "pilothouse migrate --from" in refused.stderr
    added = _etcd(tmp_path, "member", "add")
    assert added.returncode == 1
    assert "is one node" in added.stderr


def test_an_etcd_of_somebody_elses(tmp_path: Path) -> None:
    etcd = Etcd()
    try:
        there = ("--endpoints", etcd.url)
        eventually(lambda: call("etcd", "health", *there, home=tmp_path).returncode == 0)
        added = call(
            "etcd", "member", "add", "n2", "--peer-urls", "http://10.0.0.2:2380", *there, home=tmp_path
        )
        assert added.returncode == 0, added.stderr
        assert "etcd --name=n2 --initial-cluster=" in added.stdout
        assert "n2=http://10.0.0.2:2380" in added.stdout
        listed = call("etcd", "member", "list", *there, home=tmp_path)
        assert "unstarted" in listed.stdout
        assert "learner" in listed.stdout
        only = call("etcd", "member", "remove", "default", *there, home=tmp_path)
        assert only.returncode == 1
        assert "the only one with a vote" in only.stderr
    finally:
        etcd.remove()
