"""Directories as volumes: what CSI asks of them (https://github.com/container-storage-interface/spec)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import CloudError, NoRoom, NotFound, VolumeRequest
from pilothouse.cloud.providers.local.volumes import LocalVolumes

GB = 10**9


def _node(name: str) -> Obj:
    return {"metadata": {"name": name}}


def _volumes(directory: Path) -> LocalVolumes:
    return LocalVolumes(directory, 10 * GB)


def _request(name: str = "pvc-1", size: int = GB, **more: Any) -> VolumeRequest:
    return VolumeRequest(name, size, **more)


async def test_the_same_name_is_the_same_volume_also_after_a_restart(tmp_path: Path) -> None:
    first = await _volumes(tmp_path).create(_request())
    assert await _volumes(tmp_path).create(_request()) == first
    assert first.context["path"].startswith(str(tmp_path))
    with pytest.raises(CloudError, match="exists with 1000000000 bytes already"):
        await _volumes(tmp_path).create(_request(size=2 * GB))


async def test_capacity_is_what_volumes_promise(tmp_path: Path) -> None:
    volumes = _volumes(tmp_path)
    volume = await volumes.create(_request(size=9 * GB))
    with pytest.raises(NoRoom, match=r"2000000000 bytes asked for, 1000000000 of 10000000000 are free"):
        await volumes.create(_request("pvc-2", 2 * GB))
    with pytest.raises(NoRoom):
        await volumes.expand(volume.id, 11 * GB)
    assert await volumes.expand(volume.id, 10 * GB) == 10 * GB
    assert await volumes.expand(volume.id, GB) == 10 * GB, "never smaller"
    await volumes.delete(volume.id)
    await volumes.delete(volume.id)
    assert (await volumes.create(_request("pvc-2", 10 * GB))).size_bytes == 10 * GB


async def test_a_volume_is_on_one_node_unless_it_is_shared(tmp_path: Path) -> None:
    volumes = _volumes(tmp_path)
    alone = (await volumes.create(_request())).id
    await volumes.attach(alone, _node("n1"), read_only=False)
    await volumes.attach(alone, _node("n1"), read_only=False)
    with pytest.raises(CloudError, match="attached to node n1 already"):
        await volumes.attach(alone, _node("n2"), read_only=False)
    with pytest.raises(CloudError, match="attached to n1"):
        await volumes.delete(alone)
    await volumes.detach(alone, _node("n1"))
    await volumes.detach(alone, _node("n1"))
    await volumes.attach(alone, _node("n2"), read_only=False)
    shared = (await volumes.create(_request("pvc-2", access_modes=("ReadWriteMany",)))).id
    for name in ("n1", "n2"):
        await volumes.attach(shared, _node(name), read_only=False)
    with pytest.raises(NotFound):
        await volumes.attach("vol-none", _node("n1"), read_only=False)


async def test_a_snapshot_outlives_its_volume_and_starts_another(tmp_path: Path) -> None:
    volumes = _volumes(tmp_path)
    volume = await volumes.create(_request())
    file = Path(volume.context["path"]) / "a"
    file.write_text("then")
    snapshot = await volumes.snapshot(volume.id, "snap-1")
    assert snapshot == await volumes.snapshot(volume.id, "snap-1")
    file.write_text("later")
    await volumes.delete(volume.id)
    copy = await volumes.create(_request("pvc-2", snapshot=snapshot.id))
    assert (Path(copy.context["path"]) / "a").read_text() == "then"
    await volumes.delete_snapshot(snapshot.id)
    with pytest.raises(NotFound, match="snapshot"):
        await volumes.create(_request("pvc-3", snapshot=snapshot.id))


async def test_half_a_volume_of_a_crash_is_none(tmp_path: Path) -> None:
    volumes = _volumes(tmp_path)
    volume = await volumes.create(_request())
    place = Path(volume.context["path"]).parent
    (place / "data" / "old").touch()
    (place / "volume.json").unlink()
    await volumes.create(_request())
    assert list((place / "data").iterdir()) == []


async def test_a_full_or_broken_disk_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "volumes").write_text("not a directory")
    with pytest.raises(CloudError, match="volumes"):
        await _volumes(tmp_path).create(_request())
