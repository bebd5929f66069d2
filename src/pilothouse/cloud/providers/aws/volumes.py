"""EBS volumes, as the driver ebs.csi.aws.com knows them (https://github.com/kubernetes-sigs/aws-ebs-csi-driver).

Parameters of a storage class: type (gp3), iops, throughput, encrypted, kmsKeyId, iopsPerGB. A volume lives in one zone,
and is found again by the tag with its name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.cloud.batching import Batcher
from pilothouse.cloud.provider import (
    CloudError,
    Later,
    NotFound,
    Segments,
    Snapshot,
    Volume,
    VolumeRequest,
)
from pilothouse.cloud.providers.aws.calls import Aws, code_of, filters, owned, tags
from pilothouse.cloud.providers.aws.devices import free_device
from pilothouse.cloud.providers.aws.instances import AwsInstances
from pilothouse.kit.world import World

DRIVER = "ebs.csi.aws.com"
ZONE = "topology.kubernetes.io/zone"
_VOLUME_TAG = "CSIVolumeName"
_SNAPSHOT_TAG = "CSIVolumeSnapshotName"
_GIB = 2**30
_BATCH = 200
_WAIT_S = 2.0
_IN_PROGRESS_S = 5.0


class AwsVolumes:
    driver = DRIVER
    topology_keys = (ZONE,)
    grows_on_node = True
    attached_max = 25
    """What a Nitro instance holds besides its root volume and interfaces, at the least."""

    def __init__(self, aws: Aws, cluster: str, instances: AwsInstances, world: World) -> None:
        self._aws = aws
        self._cluster = cluster
        self._instances = instances
        self._world = world
        self._known = Batcher(world, self._describe, _BATCH)
        self._devices: dict[str, set[str]] = {}
        """By instance, the device names that are being attached to."""

    async def create(self, request: VolumeRequest) -> Volume:
        present = await self._by_tag("describe_volumes", "Volumes", _VOLUME_TAG, request.name)
        if present is None:
            present = await self._make(request)
        elif present["Size"] * _GIB < request.size_bytes:
            raise CloudError(f"volume {request.name} exists with {present['Size']} GiB already")
        if present["State"] == "creating":
            raise Later(f"volume {present['VolumeId']} is being created", _WAIT_S)
        place = {ZONE: present["AvailabilityZone"]}
        return Volume(present["VolumeId"], present["Size"] * _GIB, (place,))

    async def _make(self, request: VolumeRequest) -> Any:
        arguments = dict(_characteristics({**request.parameters, **request.attributes}, request.size_bytes))
        if request.snapshot:
            arguments["SnapshotId"] = request.snapshot
        if "ReadWriteMany" in request.access_modes:
            if request.mode != "Block" or arguments["VolumeType"] not in ("io1", "io2"):
                raise CloudError("ReadWriteMany needs volumeMode Block and the type io1 or io2")
            arguments["MultiAttachEnabled"] = True
        marks = tags(self._cluster, request.name, **{_VOLUME_TAG: request.name}, **request.tags)
        return await self._aws.call(
            "ec2",
            "create_volume",
            AvailabilityZone=_zone(request.places),
            ClientToken=hashlib.sha256(f"{self._cluster}/{request.name}".encode()).hexdigest(),
            TagSpecifications=[{"ResourceType": "volume", "Tags": marks}],
            **arguments,
        )

    async def find(self, name: str) -> str | None:
        found = await self._by_tag("describe_volumes", "Volumes", _VOLUME_TAG, name)
        return str(found["VolumeId"]) if found is not None else None

    async def delete(self, volume: str) -> None:
        found = await self._known.ask(volume)
        if found is None or found["State"] in ("deleting", "deleted"):
            return
        self._check_ours(found)
        with suppress(NotFound):  # somebody was faster
            await self._aws.call("ec2", "delete_volume", VolumeId=volume)

    async def attach(self, volume: str, node: Obj, *, read_only: bool) -> Mapping[str, str]:
        found, instance = await self._volume(volume), await self._instance(node)
        identity = instance["InstanceId"]
        mine = next((a for a in found["Attachments"] if a["InstanceId"] == identity), None)
        if mine is None:
            others = [a["InstanceId"] for a in found["Attachments"]]
            if others and not found.get("MultiAttachEnabled"):
                raise CloudError(f"volume {volume} is attached to instance {others[0]} already")
            mine = await self._attach(volume, instance)
        if mine["State"] != "attached":
            mine = await self._attached(volume, identity)
        return {"devicePath": mine["Device"]}

    async def _attach(self, volume: str, instance: Mapping[str, Any]) -> Any:
        """Device names are ours to choose: two attachments at once must not take the same."""
        identity = instance["InstanceId"]
        pending = self._devices.setdefault(identity, set())
        device = free_device(instance, pending)
        pending.add(device)
        try:
            return await self._aws.call(
                "ec2", "attach_volume", VolumeId=volume, InstanceId=identity, Device=device
            )
        finally:
            pending.discard(device)

    async def _attached(self, volume: str, instance: str) -> Any:
        found = await self._volume(volume)
        mine = next((a for a in found["Attachments"] if a["InstanceId"] == instance), None)
        if mine is None or mine["State"] != "attached":
            raise Later(f"volume {volume} is being attached to {instance}", _WAIT_S)
        return mine

    async def detach(self, volume: str, node: Obj) -> None:
        found, instance = await self._known.ask(volume), await self._instances.find(node)
        if found is None or instance is None:
            return
        mine = next((a for a in found["Attachments"] if a["InstanceId"] == instance["InstanceId"]), None)
        if mine is None or mine["State"] == "detached":
            return
        if mine["State"] != "detaching":
            try:
                await self._aws.call(
                    "ec2", "detach_volume", VolumeId=volume, InstanceId=instance["InstanceId"]
                )
            except CloudError as error:
                if code_of(error) != "IncorrectState":
                    raise
        after = await self._known.ask(volume)
        if after is not None and any(a["InstanceId"] == instance["InstanceId"] for a in after["Attachments"]):
            raise Later(f"volume {volume} is being detached", _WAIT_S)

    async def expand(self, volume: str, size_bytes: int) -> int:
        found = await self._volume(volume)
        wanted = -(-size_bytes // _GIB)
        if found["Size"] < wanted:
            await self._modify(volume, {"Size": wanted})
            found = await self._volume(volume)
        return max(int(found["Size"]), wanted) * _GIB

    async def modify(self, volume: str, attributes: Mapping[str, str]) -> None:
        found = await self._volume(volume)
        wanted = _characteristics(dict(attributes), found["Size"] * _GIB)
        changed = {
            name: value
            for name, value in wanted.items()
            if name in ("VolumeType", "Iops", "Throughput") and found.get(name) != value
        }
        if "type" not in attributes:
            changed.pop("VolumeType", None)
        if changed:
            await self._modify(volume, changed)

    async def _modify(self, volume: str, changes: Mapping[str, Any]) -> None:
        try:
            await self._aws.call("ec2", "modify_volume", VolumeId=volume, **changes)
        except CloudError as error:
            if code_of(error) == "IncorrectModificationState":
                raise Later(str(error), _IN_PROGRESS_S) from error
            raise

    async def snapshot(self, volume: str, name: str) -> Snapshot:
        found = await self._by_tag("describe_snapshots", "Snapshots", _SNAPSHOT_TAG, name)
        if found is None:
            marks = tags(self._cluster, name, **{_SNAPSHOT_TAG: name})
            found = await self._aws.call(
                "ec2",
                "create_snapshot",
                VolumeId=volume,
                Description=f"Created by Pilothouse for cluster {self._cluster}",
                TagSpecifications=[{"ResourceType": "snapshot", "Tags": marks}],
            )
        elif found["VolumeId"] != volume:
            raise CloudError(f"snapshot {name} is of volume {found['VolumeId']}")
        return Snapshot(found["SnapshotId"], found["VolumeSize"] * _GIB, found["State"] == "completed")

    async def delete_snapshot(self, snapshot: str) -> None:
        found = await self._aws.pages(
            "ec2", "describe_snapshots", "Snapshots", Filters=filters(snapshot_id=snapshot)
        )
        if not found:
            return
        self._check_ours(found[0])
        with suppress(NotFound):  # somebody was faster
            await self._aws.call("ec2", "delete_snapshot", SnapshotId=snapshot)

    # -- finding ---------------------------------------------------------------------------------------------

    async def _by_tag(self, method: str, key: str, tag: str, name: str) -> Any | None:
        wanted = [{"Name": f"tag:{tag}", "Values": [name]}, owned(self._cluster)]
        found = await self._aws.pages("ec2", method, key, Filters=wanted)
        return found[0] if found else None

    async def _volume(self, volume: str) -> Any:
        found = await self._known.ask(volume)
        if found is None:
            raise NotFound(f"volume {volume} does not exist")
        return found

    async def _describe(self, ids: Sequence[str]) -> dict[str, Any]:
        found = await self._aws.pages("ec2", "describe_volumes", "Volumes", Filters=filters(volume_id=ids))
        return {volume["VolumeId"]: volume for volume in found}

    async def _instance(self, node: Obj) -> Any:
        found = await self._instances.find(node)
        if found is None:
            raise NotFound(f"node {node['metadata']['name']} has no instance")
        return found

    def _check_ours(self, item: Mapping[str, Any]) -> None:
        mark = owned(self._cluster)
        key = mark["Name"].removeprefix("tag:")
        if {"Key": key, "Value": "owned"} not in (item.get("Tags") or ()):
            raise CloudError(
                f"{item.get('VolumeId') or item.get('SnapshotId')} was not made by this cluster: it lacks the tag {key}"
            )

    async def close(self) -> None:
        await self._known.close()


def _zone(places: Sequence[Segments]) -> str:
    for place in places:
        if ZONE in place:
            return place[ZONE]
    raise CloudError(f"no zone is known to make the volume in: nodes need the label {ZONE}")


_TYPES = ("gp2", "gp3", "io1", "io2", "st1", "sc1", "standard")


def _characteristics(parameters: Mapping[str, str], size_bytes: int) -> dict[str, Any]:
    """What EC2 is asked for, of a storage class's parameters, whose names may have any case. CloudError for one that is
    not known."""
    found: dict[str, Any] = {"VolumeType": "gp3", "Size": max(1, -(-size_bytes // _GIB))}
    for name, value in parameters.items():
        match name.lower():
            case "type":
                if value not in _TYPES:
                    raise CloudError(f"volume type {value} is unknown; there are {', '.join(_TYPES)}")
                found["VolumeType"] = value
            case "iops":
                found["Iops"] = _count(name, value)
            case "iopspergb":
                found.setdefault("Iops", _count(name, value) * found["Size"])
            case "throughput":
                found["Throughput"] = _count(name, value)
            case "encrypted":
                found["Encrypted"] = value.lower() == "true"
            case "kmskeyid":
                found["KmsKeyId"], found["Encrypted"] = value, True
            case _ if name.startswith("csi.storage.k8s.io/"):
                pass  # for the node and the provisioner, not for EC2
            case _:
                raise CloudError(f"parameter {name} is unknown to {DRIVER}")
    return found


def _count(name: str, value: str) -> int:
    if not value.isdigit():
        raise CloudError(f"parameter {name} needs a whole number, not {value}")
    return int(value)
