"""Volumes made of dictionaries, which count what is done to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import CloudError, NotFound, Snapshot, Volume, VolumeRequest

ZONE = "topology.kubernetes.io/zone"


@dataclass
class PaperVolumes:
    driver: str = "paper.example.com"
    topology_keys: tuple[str, ...] = (ZONE,)
    attached_max: int = 0
    grows_on_node: bool = False
    made: dict[str, Volume] = field(default_factory=dict)
    requests: list[VolumeRequest] = field(default_factory=list)
    attached: dict[str, str] = field(default_factory=dict)
    """By volume, the node; a second node is refused."""
    failing: CloudError | None = None
    stuck: bool = False
    """What is asked for is done, and the answer is lost."""

    def _check(self) -> None:
        if self.failing is not None:
            raise self.failing

    async def create(self, request: VolumeRequest) -> Volume:
        self.requests.append(request)
        self._check()
        volume = self.made.setdefault(
            f"id-{request.name}",
            Volume(f"id-{request.name}", request.size_bytes, request.places[:1], {"made": "up"}),
        )
        if self.stuck:
            raise CloudError("no answer")
        return volume

    async def find(self, name: str) -> str | None:
        return f"id-{name}" if f"id-{name}" in self.made else None

    async def delete(self, volume: str) -> None:
        self._check()
        if volume in self.attached:
            raise CloudError(f"{volume} is attached")
        self.made.pop(volume, None)

    async def attach(self, volume: str, node: Obj, *, read_only: bool) -> Mapping[str, str]:
        self._check()
        name = node["metadata"]["name"]
        if volume not in self.made:
            raise NotFound(f"{volume} does not exist")
        if self.attached.setdefault(volume, name) != name:
            raise CloudError(f"{volume} is attached to {self.attached[volume]} already")
        return {"device": "/dev/paper"}

    async def detach(self, volume: str, node: Obj) -> None:
        self._check()
        if self.attached.get(volume) == node["metadata"]["name"]:
            del self.attached[volume]

    async def expand(self, volume: str, size_bytes: int) -> int:
        self._check()
        present = self.made[volume]
        self.made[volume] = Volume(volume, size_bytes, present.places, present.context)
        return size_bytes

    async def modify(self, volume: str, attributes: Mapping[str, str]) -> None:
        self._check()

    async def snapshot(self, volume: str, name: str) -> Snapshot:
        raise CloudError("paper has no snapshots")

    async def delete_snapshot(self, snapshot: str) -> None:
        raise CloudError("paper has no snapshots")
