"""Which volumes pods name, and how many pods of which row use which: kept beside the node table's columns, as few
nodes have any one volume.

    claim shop/data    {row 3: 1, row 8: 2}
    disk  gce "pd-1"   {row 3: 1}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pilothouse.api.csi_migration import Attachable, attachable
from pilothouse.api.types import Obj
from pilothouse.api.volumes import claims_of

K = TypeVar("K")
L = TypeVar("L")

Disk = tuple[str, ...]
"""What makes two volumes the same disk: its kind, and the names that tell it from others of the kind."""


class Mount(NamedTuple):
    disk: Disk
    shared: bool
    """Read-only, of a kind that several pods may then have."""


class PodVolumes(NamedTuple):
    """`claims` are the keys of the claims that a pod mounts, `disks` those that it names itself and that are not
    shared freely, `attached` those that a CSI driver attaches for it."""

    claims: tuple[str, ...] = ()
    disks: tuple[Mount, ...] = ()
    attached: tuple[Attachable, ...] = ()


NONE = PodVolumes()


def pod_volumes(pod: Obj) -> PodVolumes:
    volumes = pod["spec"].get("volumes")
    if not volumes:
        return NONE
    disks = tuple(mount for volume in volumes for mount in _mounts(volume))
    attached = tuple(found for volume in volumes if (found := attachable(volume)) is not None)
    claims = tuple(claims_of(pod))
    return PodVolumes(claims, disks, attached) if claims or disks or attached else NONE


def _gce(source: Obj) -> Iterator[Mount]:
    yield Mount(("gce", source.get("pdName", "")), bool(source.get("readOnly")))


def _ebs(source: Obj) -> Iterator[Mount]:
    """No two pods, not even to read."""
    yield Mount(("ebs", source.get("volumeID", "")), False)


def _iscsi(source: Obj) -> Iterator[Mount]:
    yield Mount(("iscsi", source.get("iqn", "")), bool(source.get("readOnly")))


def _rbd(source: Obj) -> Iterator[Mount]:
    """Images are the same when any of their monitors is: one disk per monitor."""
    for monitor in source.get("monitors") or ():
        disk = ("rbd", monitor, source.get("pool", "rbd"), source.get("image", ""))
        yield Mount(disk, bool(source.get("readOnly")))


_KINDS: Mapping[str, Callable[[Obj], Iterator[Mount]]] = {
    "gcePersistentDisk": _gce,
    "awsElasticBlockStore": _ebs,
    "iscsi": _iscsi,
    "rbd": _rbd,
}


def _mounts(volume: Obj) -> Iterable[Mount]:
    for field, mounts in _KINDS.items():
        if volume.get(field):
            yield from mounts(volume[field])


class VolumeUse:
    """Counts of pods by what they use and by row. `version` of a row changes with every pod with volumes that comes
    to it or goes."""

    def __init__(self) -> None:
        self.version: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._claims: dict[str, dict[int, int]] = {}
        self._mounts: dict[Mount, dict[int, int]] = {}
        self._attached: dict[int, dict[Attachable, int]] = {}
        self._claims_on: dict[int, dict[str, int]] = {}

    def grow(self, size: int) -> None:
        more = np.zeros(size - len(self.version), dtype=np.int64)
        self.version = np.concatenate([self.version, more])

    def count(self, row: int, volumes: PodVolumes, sign: int) -> None:
        self.version[row] += 1
        for claim in volumes.claims:
            _add(self._claims, claim, row, sign)
            _add(self._claims_on, row, claim, sign)
        for mount in volumes.disks:
            _add(self._mounts, mount, row, sign)
        for each in volumes.attached:
            _add(self._attached, row, each, sign)

    def rows_of_claim(self, claim: str) -> Mapping[int, int]:
        """How many pods of each row use a claim."""
        return self._claims.get(claim, {})

    def rows_of_disk(self, disk: Disk, *, shared: bool) -> Iterable[int]:
        """The rows where a pod has a disk, to read only or not."""
        return self._mounts.get(Mount(disk, shared), {})

    def claims_on(self, row: int) -> Iterable[str]:
        return self._claims_on.get(row, {})

    def attached_on(self, row: int) -> Iterable[Attachable]:
        """What the pods of a row name themselves."""
        return self._attached.get(row, {})


def _add(counts: dict[K, dict[L, int]], key: K, inner: L, sign: int) -> None:
    entry = counts.setdefault(key, {})
    left = entry.get(inner, 0) + sign
    if left:
        entry[inner] = left
        return
    entry.pop(inner, None)
    if not entry:
        del counts[key]
