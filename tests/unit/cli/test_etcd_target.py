"""Which store the flags of `pilothouse etcd …` mean."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pilothouse.cli import state
from pilothouse.cli.etcd import target
from pilothouse.cli.flags import Command, Failure, UsageError
from pilothouse.etcd.cluster.layout import Home, Layout, Member

_COMMAND = Command("x", "x", lambda values: None, (target.GROUP,))


def _find(*arguments: str) -> target.Target:
    return target.find(_COMMAND.parse(arguments))


def test_endpoints_are_any_etcd() -> None:
    found = _find("--endpoints", "10.0.0.1:2379,https://b:2379", "--user", "root:a:b")
    assert isinstance(found, target.Remote)
    assert found.access.endpoints == ("http://10.0.0.1:2379", "https://b:2379")
    assert (found.access.user, found.access.password) == ("root", "a:b")


def test_an_endpoint_without_scheme_is_secure_when_a_ca_is_named(tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    ca.write_text("")
    assert target.access(_find("--endpoints=a:1", f"--cacert={ca}"), "x").endpoints == ("https://a:1",)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--endpoints", "a:1", "--data-dir", "/x"), "give one of them"),
        (
            (
                "--endpoints",
                "ftp://a:1",
            ),
            "no URL",
        ),
        (("--endpoints", "a:1", "--cert", __file__), "belong together"),
        (("--cert", __file__), "--cert belongs to --endpoints"),
    ],
)
def test_flags_that_contradict(arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        _find(*arguments)


def test_a_managed_cluster_is_known_by_its_state_file(tmp_path: Path) -> None:
    Home(tmp_path).write(Layout("t", (Member("m1", 1001, 1002), Member("m2", 1003, 1004))))
    found = _find("--data-dir", str(tmp_path))
    assert isinstance(found, target.Managed)
    assert found.pid is None
    assert found.access.endpoints == ("https://127.0.0.1:1001", "https://127.0.0.1:1003")
    assert found.access.cacert == tmp_path / "etcd" / "pki" / "ca.crt"
    with pytest.raises(Failure, match=f"is stopped, .* start it with pilothouse up --data-dir {tmp_path}"):
        target.access(found, "health")


def test_a_state_file_that_is_damaged_is_told(tmp_path: Path) -> None:
    (tmp_path / "etcd").mkdir()
    (tmp_path / "etcd" / "cluster.json").write_text('{"format": 1, "members": [')
    with pytest.raises(Failure, match=r"cannot read .*cluster.json"):
        _find("--data-dir", str(tmp_path))


def test_the_embedded_store_running_and_stopped(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="there is no store in"):
        _find("--data-dir", str(tmp_path))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.db").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "etcd.sock"))
        listener.listen()
        running = _find("--data-dir", str(tmp_path))
        assert isinstance(running, target.Running)
        assert running.access.endpoints == (f"unix://{tmp_path}/etcd.sock",)
    stopped = _find("--data-dir", str(tmp_path))  # the socket is there, and nobody listens
    assert isinstance(stopped, target.Stopped)
    assert stopped.directory == tmp_path / "store"
    with pytest.raises(Failure, match="is not running"):
        target.access(stopped, "health")


def test_a_process_that_does_not_serve_its_store(tmp_path: Path) -> None:
    claim = state.claim(tmp_path)
    assert claim is not None
    with pytest.raises(Failure, match=f"process {os.getpid()} runs on"):
        _find("--data-dir", str(tmp_path))
    claim.release()
