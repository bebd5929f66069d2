"""What is remembered, which flags a member gets, ports, and the control socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pilothouse.etcd.cluster import command_line, control
from pilothouse.etcd.cluster.control import ControlServer, Say
from pilothouse.etcd.cluster.layout import JOINING, Home, Layout, Member
from pilothouse.etcd.cluster.ports import free_ports, is_free
from pilothouse.etcd.contract import StoreError, StoreUnavailable
from pilothouse.kit.certificates import KeyPair

_LAYOUT = Layout("token", (Member("m1", 1, 2), Member("m2", 3, 4, JOINING, 77, True)))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.read() is None
    home.write(_LAYOUT)
    assert home.read() == _LAYOUT
    assert home.state_file.stat().st_mode & 0o777 == 0o600
    assert home.directory.stat().st_mode & 0o777 == 0o700


def test_a_state_of_another_format_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write(_LAYOUT)
    home.state_file.write_text(home.state_file.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(StoreError, match="it has format 9"):
        home.read()


def _flags(member: Member) -> list[str]:
    pair = KeyPair(Path("c"), Path("k"))
    certificates = command_line.Certificates(Path("ca"), pair, pair)
    urls = {"m1": "https://127.0.0.1:2", "m2": "https://127.0.0.1:4"}
    return command_line.member_flags(member, _LAYOUT, Path("d"), certificates, urls)


def test_a_new_member_forms_a_cluster_and_a_joining_one_finds_one() -> None:
    new, joining = (_flags(member) for member in _LAYOUT.members)
    assert "--initial-cluster-state=new" in new
    assert "--initial-cluster-state=existing" in joining
    assert "--initial-cluster=m1=https://127.0.0.1:2,m2=https://127.0.0.1:4" in joining
    assert {"--client-cert-auth", "--peer-client-cert-auth"} <= set(new)
    assert not [flag for flag in new if "http://" in flag], "TLS everywhere"


@pytest.mark.parametrize(
    ("version", "flag"),
    [
        ((3, 4, 23), "--experimental-watch-progress-notify-interval=5s"),
        ((3, 6, 1), "--watch-progress-notify-interval=5s"),
    ],
)
def test_flags_follow_the_version(version: tuple[int, int, int], flag: str) -> None:
    assert flag in command_line.common_flags(version, durable=True)
    assert "--unsafe-no-fsync" not in command_line.common_flags(version, durable=True)


def test_ports_are_free_and_not_those_of_connections() -> None:
    ports = free_ports(Random(1), 6)
    assert len(set(ports)) == 6
    assert all(20_000 <= port < 32_768 for port in ports)
    assert free_ports(Random(1), 6, taken=ports) != ports
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


class _Cluster:
    async def add(self, request: Mapping[str, Any], say: Say) -> dict[str, Any]:
        say("on its way")
        if request["name"] == "bad":
            raise StoreError("no room")
        return {"name": request["name"]}


@pytest.mark.parametrize("folder", ["d", "d" * 120])
async def test_a_command_reaches_the_running_cluster(tmp_path: Path, folder: str) -> None:
    directory = tmp_path / folder
    directory.mkdir()
    server = ControlServer(directory, {"add": _Cluster().add})
    await server.start()
    said: list[str] = []

    async def ask(request: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(control.ask, directory, request, said.append)

    assert await ask({"do": "add", "name": "m4"}) == {"name": "m4"}
    assert said == ["on its way"]
    with pytest.raises(StoreError, match="no room"):
        await ask({"do": "add", "name": "bad"})
    with pytest.raises(StoreError, match="no request that this version knows"):
        await ask({"do": "dance"})
    assert (directory / "control.sock").stat().st_mode & 0o777 == 0o600
    await server.stop()
    with pytest.raises(StoreUnavailable, match="start the cluster with pilothouse up --data-dir"):
        await ask({"do": "add", "name": "m4"})
