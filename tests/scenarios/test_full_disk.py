"""A disk that is really full: writes are refused in etcd's words, all else goes on, and so do writes once there is
room again. Needs to mount a small file system, so root."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TOKENS
from tests.scenarios.crash import NAMESPACE, Client
from tests.scenarios.processes import ready_line, running


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """6 MB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(mounted)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def _enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


def _flags(disk: Path, tmp_path: Path) -> list[str]:
    (tmp_path / "tokens.csv").write_text(TOKENS)
    return [
        "kube-apiserver", f"--data-dir={disk / 'data'}", "--secure-port=0", "--bind-address=127.0.0.1",
        f"--token-auth-file={tmp_path / 'tokens.csv'}",
    ]  # fmt: skip


def _map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"pad": "x" * 100_000}}


async def test_a_full_disk(disk: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(*_flags(disk, tmp_path), log=log) as process:
        client = Client(ready_line(process, log).split()[4])
        seen: list[str] = []
        came = asyncio.Event()

        def see(event: Any) -> None:
            seen.append(event["object"]["metadata"]["name"])
            if seen[-1] == "more":
                came.set()

        watch = asyncio.create_task(client.watch(f"{NAMESPACE}/configmaps", 1, see))
        made, refused = await _fill(client)
        assert refused == {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "etcdserver: mvcc: database space exceeded", "code": 500,
        }  # fmt: skip
        assert await _names(client) == made
        assert (await client.ask("GET", "/api/v1/namespaces"))[0] == 200
        for verb, body in (("PUT", _map("m0") | {"data": {}}), ("DELETE", None)):
            assert (await client.ask(verb, f"{NAMESPACE}/configmaps/m0", body))[0] in (200, 500)
        assert not watch.done()
        await asyncio.to_thread(_enlarge, disk)
        assert (await client.ask("POST", f"{NAMESPACE}/configmaps", _map("more")))[0] == 201
        await asyncio.wait_for(came.wait(), 5)
        assert [name for name in dict.fromkeys(seen) if name.startswith("m")] == [*made, "more"]
        before = await _names(client)
        watch.cancel()
        await client.close()
    text = log.read_text()
    assert "writes are refused until the disk takes them again" in text
    assert "Traceback" not in text
    with running(*_flags(disk, tmp_path), log=log) as process:
        client = Client(ready_line(process, log).split()[4])
        assert await _names(client) == before
        await client.close()


async def _fill(client: Client) -> tuple[list[str], Any]:
    """The names that were made, and how the first refusal reads."""
    made: list[str] = []
    for n in range(200):
        status, answer = await client.ask("POST", f"{NAMESPACE}/configmaps", _map(f"m{n}"))
        if status != 201:
            return made, answer
        made.append(f"m{n}")
    raise AssertionError("the disk did not fill up")


async def _names(client: Client) -> list[str]:
    _, found = await client.ask("GET", f"{NAMESPACE}/configmaps")
    names = [i["metadata"]["name"] for i in found["items"] if i["metadata"]["name"].startswith("m")]
    return sorted(names, key=lambda name: int(name[1:]) if name[1:].isdigit() else 10**9)
