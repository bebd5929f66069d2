"""A control plane is saved while it runs, lost, and restored: clients see no time go backwards."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.etcd.snapshots import file
from tests.conftest import Running, start, stop
from tests.scenarios.processes import call, eventually

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def ask(running: Running, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request = urllib.request.Request(
        running.url + path,
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Authorization": "Bearer admintoken", "Content-Type": "application/json"},
    )
    trusting = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, context=trusting, timeout=20) as answer:
            found = answer.read()
    except urllib.error.HTTPError as error:
        found = error.read()
    # A watch's first event, where there are several.
    return dict(json.loads(found.splitlines()[0]))


def make(running: Running, name: str) -> dict[str, Any]:
    made = ask(running, CONFIG_MAPS, {"metadata": {"name": name}, "data": {"a": name}})
    assert made.get("kind") == "ConfigMap", made
    return made


class Clusters:
    """Started, and stopped in the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[Running] = []

    def up(self, home: Path, *flags: str) -> Running:
        running = start(self._directory, "--data-dir", str(home), "--nodes", "1", *flags)
        self._running.append(running)
        return running

    def down(self, running: Running) -> None:
        self._running.remove(running)
        assert stop(running) == 0

    def end(self) -> None:
        for running in self._running:
            running.process.kill()
            running.process.wait()


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[Clusters]:
    clusters = Clusters(tmp_path)
    yield clusters
    clusters.end()


def version(thing: dict[str, Any]) -> int:
    return int(thing["metadata"]["resourceVersion"])


def test_saved_while_it_runs_lost_and_restored(tmp_path: Path, clusters: Clusters) -> None:
    old, new, copy = tmp_path / "old", tmp_path / "new", tmp_path / "copy.db"
    running = clusters.up(old)
    kept = make(running, "kept")
    saved = call("snapshot", "save", str(copy), "--data-dir", str(old), home=tmp_path)
    assert saved.returncode == 0, saved.stderr
    assert saved.stdout.startswith(f"Snapshot saved at {copy} (")
    assert saved.stderr == "", "no bar in a pipe"
    lost = make(running, "lost")
    seen = version(ask(running, CONFIG_MAPS))
    clusters.down(running)
    assert file.status(copy).revision < seen

    refused = call("snapshot", "restore", str(copy), "--data-dir", str(old), home=tmp_path)
    assert refused.returncode == 1
    assert "not empty" in refused.stderr

    new.mkdir()
    shutil.copytree(old / "pki", new / "pki")
    restored = call("snapshot", "restore", str(copy), "--data-dir", str(new), home=tmp_path)
    assert restored.returncode == 0, restored.stderr
    running = clusters.up(new)
    maps = ask(running, CONFIG_MAPS)
    found = {each["metadata"]["name"]: each["metadata"]["uid"] for each in maps["items"]}
    assert found["kept"] == kept["metadata"]["uid"]
    assert "lost" not in found
    assert version(maps) > 1_000_000_000 > version(lost)
    stale = ask(running, f"{CONFIG_MAPS}?watch=true&timeoutSeconds=5&resourceVersion={seen}")
    assert stale["type"] == "ERROR"
    assert (stale["object"]["code"], stale["object"]["reason"]) == (410, "Expired")
    assert version(make(running, "after")) > version(maps)


def test_scheduled_snapshots_are_kept_and_can_be_restored(tmp_path: Path, clusters: Clusters) -> None:
    home = tmp_path / "home"
    running = clusters.up(home, "--snapshot-every", "1s", "--snapshot-keep", "2")
    made = make(running, "kept")
    directory = home / "snapshots"

    def newest() -> Path | None:
        whole = sorted(directory.glob("snapshot-*.db")) if directory.exists() else []
        return whole[-1] if whole else None

    def has_it() -> bool:
        path = newest()
        return path is not None and int(path.stem.rpartition("-r")[2]) >= version(made)

    eventually(has_it)
    first = newest()
    eventually(lambda: first not in directory.iterdir())
    assert len(list(directory.glob("snapshot-*.db"))) <= 3
    metrics = urllib.request.Request(running.url + "/metrics", headers={"Authorization": "Bearer admintoken"})
    with urllib.request.urlopen(metrics, context=ssl._create_unverified_context()) as answer:
        assert b"pilothouse_snapshot_last_success_timestamp_seconds" in answer.read()
    clusters.down(running)
    shutil.rmtree(home / "store")
    (home / "etcd.sock").unlink(missing_ok=True)
    path = newest()
    assert path is not None
    restored = call("etcd", "snapshot", "restore", str(path), "--data-dir", str(home), home=tmp_path)
    assert restored.returncode == 0, restored.stderr
    running = clusters.up(home)
    found = {each["metadata"]["uid"] for each in ask(running, CONFIG_MAPS)["items"]}
    assert made["metadata"]["uid"] in found


def test_a_control_plane_moves_to_another_directory(tmp_path: Path, clusters: Clusters) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    running = clusters.up(old)
    kept = make(running, "kept")
    clusters.down(running)
    shutil.copytree(old / "pki", new / "pki")
    moved = call("migrate", "--from", str(old), "--to", str(new), home=tmp_path)
    assert moved.returncode == 0, moved.stderr
    assert "compared key by key" in moved.stdout
    running = clusters.up(new)
    maps = ask(running, CONFIG_MAPS)
    assert kept["metadata"]["uid"] in {each["metadata"]["uid"] for each in maps["items"]}
    assert version(maps) > 1_000_000_000
    onto = call("migrate", "--from", str(old), "--to", str(new), home=tmp_path)
    assert onto.returncode == 1
    assert "stop it" in onto.stderr


def test_snapshot_flags_that_do_not_fit(tmp_path: Path) -> None:
    for flags, text in (
        (("--snapshot-keep", "3"), "belongs to --snapshot-every"),
        (("--snapshot-every", "1ms"), "a second is the least"),
        (("--ephemeral", "--snapshot-every", "1m"), "--snapshot-dir"),
    ):
        done = call("up", *flags, home=tmp_path)
        assert done.returncode == 2, done.stderr
        assert text in done.stderr
    assert not os.path.exists(tmp_path / "pilothouse" / "store")
