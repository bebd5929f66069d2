"""With --client-cert-auth the name in a client's certificate is a user: with a real etcd, and with ours."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.etcds import free_port
from tests.programs import required
from tests.real_etcd import real_etcd
from tests.scenarios.processes import ready_line, running
from tests.unit.etcd.server.certificates import Ca

Etcdctl = Callable[..., str]


@pytest.fixture(params=["a real etcd", "pilothouse etcd"])
def etcdctl(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Etcdctl]:
    """`etcdctl(NAME, ARGUMENTS…)` with a certificate of that name; what it prints, errors after it."""
    ca = Ca(tmp_path)
    certificate, key = ca.issue("server")
    pairs = {name: ca.issue(name) for name in ("root", "alice", "stranger")}
    flags = (
        f"--cert-file={certificate}",
        f"--key-file={key}",
        f"--trusted-ca-file={ca.file}",
        "--client-cert-auth",
    )

    def at(url: str) -> Etcdctl:
        def run(name: str, *arguments: str) -> str:
            cert, private = pairs[name]
            command = [required("etcdctl"), f"--endpoints={url}", f"--cacert={ca.file}", f"--cert={cert}"]
            command += [f"--key={private}", *arguments]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=30, env={"ETCDCTL_API": "3"}, check=False
            )
            return done.stdout + done.stderr

        return run

    if request.param == "a real etcd":
        with real_etcd(tmp_path / "etcd", *flags, scheme="https", ca=ca.file, pair=pairs["root"]) as address:
            yield at(f"https://{address}")
        return
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    log = tmp_path / "log"
    command = ("etcd", f"--data-dir={tmp_path / 'data'}", f"--listen-client-urls={url}", *flags)
    with running(*command, log=log) as process:
        ready_line(process, log)
        yield at(url)


def test_a_certificate_is_a_user(etcdctl: Etcdctl) -> None:
    assert etcdctl("stranger", "put", "mine/a", "1") == "OK\n"
    for command in (
        "user add root --no-password",
        "user grant-role root root",
        "user add alice --no-password",
        "role add owner",
        "role grant-permission owner readwrite mine/ --prefix",
        "user grant-role alice owner",
    ):
        assert "Error" not in etcdctl("root", *command.split()), command
    assert etcdctl("root", "auth", "enable") == "Authentication Enabled\n"
    assert etcdctl("alice", "get", "mine/a") == "mine/a\n1\n"
    assert "etcdserver: permission denied" in etcdctl("alice", "get", "other")
    assert "etcdserver: permission denied" in etcdctl("stranger", "get", "mine/a")
    assert "etcdserver: permission denied" in etcdctl("alice", "user", "list")
    assert "user name not found" in etcdctl("stranger", "user", "list")
    assert etcdctl("root", "user", "list") == "alice\nroot\n"
    assert "watch was canceled" in etcdctl("alice", "watch", "other")
