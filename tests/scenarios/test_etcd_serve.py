"""`pilothouse etcd` as a process, driven by real etcdctl."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from .etcd_tools import Etcdctl
from .processes import call, ready_line, running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def _serve(data: Path, *more: str) -> tuple[str, ...]:
    return ("etcd", "--data-dir", str(data), "--listen-client-urls", "http://127.0.0.1:0", *more)


def _url(line: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line
    return found[0]


@pytest.fixture
def ctl(data: Path, tmp_path: Path) -> Iterator[Etcdctl]:
    log = tmp_path / "log"
    with running(*_serve(data), log=log) as process:
        url = _url(ready_line(process, log))
        yield Etcdctl("--endpoints", url.removeprefix("http://"))
    assert log.read_text() == ""


def test_keys(ctl: Etcdctl) -> None:
    assert ctl("put", "a", "1") == "OK\n"
    assert ctl("put", "a", "2", "--prev-kv") == "OK\na\n1\n"
    assert ctl("put", "a/b", "3") == "OK\n"
    assert ctl("get", "a", "--prefix") == "a\n2\na/b\n3\n"
    assert ctl("get", "a", "--prefix", "--keys-only") == "a\n\na/b\n\n"
    assert ctl("get", "a", "--rev", "2") == "a\n1\n"
    assert ctl("get", "", "--from-key", "--order", "DESCEND", "--limit", "1") == "a/b\n3\n"
    page = json.loads(ctl("get", "a", "--prefix", "--limit", "1", "-w", "json"))
    assert (page["count"], page["more"], len(page["kvs"])) == (2, True, 1)
    assert ctl("del", "a", "--prev-kv") == "1\na\n2\n"
    assert ctl("del", "none") == "0\n"
    missing = ctl.run("put", "none", "--ignore-value")
    assert (missing.returncode, "etcdserver: key not found" in missing.stderr) == (1, True)


def test_transactions(ctl: Etcdctl) -> None:
    ctl("put", "a", "1")
    script = 'value("a") = "1"\n\nput a 2\nget a\n\nget a\n\n'
    assert ctl("txn", "-i", stdin=script).endswith("SUCCESS\n\nOK\n\na\n2\n")
    assert ctl("txn", stdin=script) == "FAILURE\n\na\n2\n"
    twice = ctl.run("txn", stdin="\nput a 1\nput a 2\n\n\n")
    assert "etcdserver: duplicate key given in txn request" in twice.stderr


def test_watching(ctl: Etcdctl) -> None:
    ctl("put", "a", "1")
    ctl("del", "a")
    watch = ctl.start("watch", "a", "--rev", "2", "--prev-kv")
    try:
        assert watch.stdout is not None
        lines = [watch.stdout.readline() for _ in range(8)]
        assert "".join(lines) == "PUT\na\n1\nDELETE\na\n1\na\n\n"
        ctl("put", "a", "3")
        assert [watch.stdout.readline() for _ in range(3)][-1] == "3\n"
    finally:
        watch.terminate()
        watch.wait()
    ctl("compaction", "4")
    late = ctl.run("watch", "a", "--rev", "2")
    assert "required revision has been compacted" in late.stdout + late.stderr


def test_leases(ctl: Etcdctl) -> None:
    lease = ctl("lease", "grant", "500").split()[1]
    ctl("put", "a", "1", "--lease", lease)
    assert ctl("lease", "list") == f"found 1 leases\n{lease}\n"
    assert re.fullmatch(
        rf"lease {lease} granted with TTL\(500s\), remaining\(\d+s\), attached keys\(\[a\]\)\n",
        ctl("lease", "timetolive", lease, "--keys"),
    )
    assert ctl("lease", "keep-alive", "--once", lease) == f"lease {lease} keepalived with TTL(500)\n"
    assert ctl("lease", "revoke", lease) == f"lease {lease} revoked\n"
    assert ctl("get", "a") == ""
    assert ctl("lease", "timetolive", lease) == f"lease {lease} already expired\n"


def test_an_expired_lease_takes_its_keys(ctl: Etcdctl) -> None:
    lease = ctl("lease", "grant", "1").split()[1]
    ctl("put", "a", "1", "--lease", lease)
    watch = ctl.start("watch", "a")
    try:
        assert watch.stdout is not None
        assert watch.stdout.readline() == "DELETE\n"
    finally:
        watch.terminate()
        watch.wait()


def test_compaction(ctl: Etcdctl) -> None:
    for _i in range(3):
        ctl("put", "a", "1")
    assert ctl("compaction", "3") == "compacted revision 3\n"
    assert ctl("compaction", "4", "--physical") == "compacted revision 4\n"
    assert "required revision has been compacted" in ctl.run("get", "a", "--rev", "3").stderr
    assert "required revision is a future revision" in ctl.run("compaction", "99").stderr


def test_members(ctl: Etcdctl) -> None:
    (member,) = json.loads(ctl("member", "list", "-w", "json"))["members"]
    assert (member["name"], member["peerURLs"]) == ("default", ["http://localhost:2380"])
    refused = ctl.run("member", "add", "other", "--peer-urls", "http://127.0.0.1:9")
    assert refused.returncode == 1
    assert "pilothouse up --etcd-members 3" in refused.stderr
    assert "is healthy: successfully committed proposal" in (
        (health := ctl.run("endpoint", "health")).stdout + health.stderr
    )


def test_data_outlives_a_kill(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for value in ("1", "2"):
        with running(*_serve(data), log=log) as process:
            ctl = Etcdctl("--endpoints", _url(ready_line(process, log)).removeprefix("http://"))
            if value == "2":
                assert ctl("get", "a") == "a\n1\n"
            ctl("put", "a", value)
            process.send_signal(signal.SIGKILL)
            process.wait()


def test_one_process_for_a_store(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(*_serve(data), log=log) as process:
        ready_line(process, log)
        files = [path for path in data.rglob("*") if not path.is_dir()]
        assert {stat.S_IMODE(os.stat(path).st_mode) for path in files} == {0o600}
        assert (data / "etcd.sock").is_socket()
        second = call(*_serve(data), home=tmp_path)
        assert second.returncode == 1
        assert "is in use by another process" in second.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert not (data / "etcd.sock").exists()
    assert log.read_text() == ""


def test_wrong_calls(tmp_path: Path) -> None:
    (tmp_path / "real" / "member").mkdir(parents=True)
    for arguments, code, text in (
        (("--initial-cluster", "a=http://x:1,b=http://y:1"), 2, "pilothouse up --etcd-members 3"),
        (("--listen-client-urls", "2379"), 2, "the scheme must be http"),
        (("--listen-client-urls", "https://127.0.0.1:0"), 2, "needs --cert-file and --key-file"),
        (("--auto-compaction-mode", "never"), 2, "neither periodic nor revision"),
        (("--dta-dir", "x"), 2, "did you mean --data-dir?"),
        (("nothing",), 2, "'nothing'"),
        (("--data-dir", str(tmp_path / "real")), 1, "a real etcd's data"),
    ):
        ended = call("etcd", *arguments, home=tmp_path)
        assert (ended.returncode, text in ended.stderr) == (code, True), ended.stderr
        assert ended.stderr.count("\n") == 1


def test_etcds_flags_of_one_member_are_taken(data: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    flags = (
        "--name=m1",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=m1=http://127.0.0.1:2380",
        "--initial-cluster-state=new",
        "--initial-cluster-token=t",
        "--snapshot-count=10000",
        "--advertise-client-urls=http://10.0.0.1:2379",
        "--auto-compaction-retention=5m",
        "--quota-backend-bytes=8589934592",
        "--watch-progress-notify-interval=5s",
        "--logger=zap",
    )
    with running(*_serve(data, *flags), log=log) as process:
        ctl = Etcdctl("--endpoints", _url(ready_line(process, log)).removeprefix("http://"))
        (member,) = json.loads(ctl("member", "list", "-w", "json"))["members"]
        assert (member["name"], member["clientURLs"]) == ("m1", ["http://10.0.0.1:2379"])


def test_the_store_of_a_running_and_a_stopped_cluster(data: Path, tmp_path: Path) -> None:
    """`up` answers on its socket, and `pilothouse etcd` serves what it left."""
    log = tmp_path / "log"
    with running("up", "--data-dir", str(data), "--secure-port", "0", "--nodes", "0", log=log) as process:
        ready_line(process, log)
        ctl = Etcdctl("--endpoints", f"unix://{data / 'etcd.sock'}")
        namespace = ctl("get", "/registry/namespaces/default", "--print-value-only")
        assert json.loads(namespace)["kind"] == "Namespace"
    with running(*_serve(data), log=log) as process:
        ctl = Etcdctl("--endpoints", _url(ready_line(process, log)).removeprefix("http://"))
        assert ctl("get", "/registry/namespaces/default", "--print-value-only") == namespace
