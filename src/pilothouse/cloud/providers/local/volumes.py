"""Volumes that are directories of this machine, with their capacity accounted:

    DIRECTORY/volumes/ID/volume.json     size, name, snapshot it came from, nodes it is attached to
    DIRECTORY/volumes/ID/data/           what is in it
    DIRECTORY/snapshots/ID/…             the same of a snapshot

A directory has no size of its own: the capacity is what volumes promise, all of them together. Ids are made of names,
so that the same request finds the same volume after a crash.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import CloudError, NoRoom, NotFound, Snapshot, Volume, VolumeRequest
from pilothouse.kit import files

P = ParamSpec("P")
T = TypeVar("T")

DRIVER = "local.pilothouse.dev"
_RECORD = "volume.json"


class LocalVolumes:
    driver = DRIVER
    topology_keys: tuple[str, ...] = ()
    attached_max = 0
    grows_on_node = False

    def __init__(self, directory: Path, capacity_bytes: int) -> None:
        self._volumes = directory / "volumes"
        self._snapshots = directory / "snapshots"
        self._capacity_bytes = capacity_bytes
        self._turn = asyncio.Lock()
        """One change at a time: capacity is counted from the records."""

    async def create(self, request: VolumeRequest) -> Volume:
        return await self._change(self._create, request)

    def _create(self, request: VolumeRequest) -> Volume:
        identity = _identity(request.name)
        place = self._volumes / identity
        present = _read(place)
        if present is None:
            size = max(request.size_bytes, 1)
            self._check_room(size)
            source = self._snapshots / request.snapshot if request.snapshot else None
            if source is not None and _read(source) is None:
                raise NotFound(f"snapshot {request.snapshot} does not exist")
            _lay(place, source)
            present = {"name": request.name, "size": size, "attached": [], **_shared(request)}
            _write(place, present)
        elif present["size"] < request.size_bytes:
            raise CloudError(f"volume {request.name} exists with {present['size']} bytes already")
        return Volume(identity, present["size"], (), {"path": str(place / "data")})

    def _check_room(self, more: int) -> None:
        used = sum(record["size"] for record in self._records())
        if used + more > self._capacity_bytes:
            raise NoRoom(
                f"{more} bytes asked for, {self._capacity_bytes - used} of {self._capacity_bytes} are free; "
                "see volumes.capacity in the cloud's configuration"
            )

    def _records(self) -> list[Any]:
        if not self._volumes.is_dir():
            return []
        return [record for place in self._volumes.iterdir() if (record := _read(place)) is not None]

    async def find(self, name: str) -> str | None:
        identity = _identity(name)
        return identity if await self._change(_read, self._volumes / identity) is not None else None

    async def delete(self, volume: str) -> None:
        await self._change(self._delete, volume)

    def _delete(self, volume: str) -> None:
        place = self._volumes / volume
        record = _read(place)
        if record is None:
            return
        if record["attached"]:
            raise CloudError(f"volume {volume} is attached to {', '.join(record['attached'])}")
        # The record goes first: what a crash leaves behind is no volume.
        (place / _RECORD).unlink()
        shutil.rmtree(place)

    async def attach(self, volume: str, node: Obj, *, read_only: bool) -> Mapping[str, str]:
        await self._change(self._attach, volume, str(node["metadata"]["name"]), read_only)
        return {"path": str(self._volumes / volume / "data")}

    def _attach(self, volume: str, node: str, read_only: bool) -> None:
        record = self._known(volume)
        if node in record["attached"]:
            return
        if record["attached"] and not record["shared"] and not read_only:
            raise CloudError(f"volume {volume} is attached to node {record['attached'][0]} already")
        record["attached"].append(node)
        _write(self._volumes / volume, record)

    async def detach(self, volume: str, node: Obj) -> None:
        await self._change(self._detach, volume, str(node["metadata"]["name"]))

    def _detach(self, volume: str, node: str) -> None:
        record = _read(self._volumes / volume)
        if record is not None and node in record["attached"]:
            record["attached"].remove(node)
            _write(self._volumes / volume, record)

    async def expand(self, volume: str, size_bytes: int) -> int:
        return await self._change(self._expand, volume, size_bytes)

    def _expand(self, volume: str, size_bytes: int) -> int:
        record = self._known(volume)
        if size_bytes > record["size"]:
            self._check_room(size_bytes - record["size"])
            record["size"] = size_bytes
            _write(self._volumes / volume, record)
        return int(record["size"])

    async def modify(self, volume: str, attributes: Mapping[str, str]) -> None:
        raise CloudError("directories have no attributes that could be changed")

    async def snapshot(self, volume: str, name: str) -> Snapshot:
        return await self._change(self._snapshot, volume, name)

    def _snapshot(self, volume: str, name: str) -> Snapshot:
        record = self._known(volume)
        identity = _identity(name)
        place = self._snapshots / identity
        present = _read(place)
        if present is None:
            _lay(place, self._volumes / volume)
            present = {"name": name, "size": record["size"], "of": volume}
            _write(place, present)
        elif present["of"] != volume:
            raise CloudError(f"snapshot {name} is of volume {present['of']}")
        return Snapshot(identity, present["size"], ready=True)

    async def delete_snapshot(self, snapshot: str) -> None:
        await self._change(self._delete_snapshot, snapshot)

    def _delete_snapshot(self, snapshot: str) -> None:
        place = self._snapshots / snapshot
        if _read(place) is not None:
            (place / _RECORD).unlink()
            shutil.rmtree(place)

    def _known(self, volume: str) -> dict[str, Any]:
        record = _read(self._volumes / volume)
        if record is None:
            raise NotFound(f"volume {volume} does not exist")
        return record

    async def _change(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """On a thread: trees may be large."""
        async with self._turn:
            try:
                return await asyncio.to_thread(work, *arguments, **named)
            except OSError as error:
                raise CloudError(f"{error.filename or self._volumes}: {error.strerror}") from error


def _identity(name: str) -> str:
    """A file name, whatever the name is."""
    return f"vol-{hashlib.sha256(name.encode()).hexdigest()[:17]}"


def _shared(request: VolumeRequest) -> dict[str, bool]:
    return {"shared": any(mode in ("ReadWriteMany", "ReadOnlyMany") for mode in request.access_modes)}


def _lay(place: Path, source: Path | None) -> None:
    """The data of a new volume or snapshot; half of one from before a crash is laid anew."""
    data = place / "data"
    if data.exists():
        shutil.rmtree(data)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if source is not None:
        shutil.copytree(source / "data", data, symlinks=True)
    else:
        data.mkdir(mode=0o700)


def _read(place: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((place / _RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise CloudError(f"{place / _RECORD}: {error}; the volume cannot be used") from error
    return found


def _write(place: Path, record: Mapping[str, Any]) -> None:
    files.write_private(place / _RECORD, json.dumps(record).encode())
