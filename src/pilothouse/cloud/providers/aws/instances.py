"""EC2 instances behind nodes (https://cloud-provider-aws.sigs.k8s.io).

A node is known by `spec.providerID`, aws:///ZONE/INSTANCE, and before it has one by its name: the instance's private
DNS name. Questions about many nodes become few DescribeInstances: filters, other than a list of ids, do not fail for an
instance that is gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.cloud.batching import Batcher
from pilothouse.cloud.provider import CloudError, Instance, NotFound
from pilothouse.cloud.providers.aws.calls import Aws, filters
from pilothouse.kit.world import World

BATCH = 200
"""Values that one filter takes (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html)."""
_PROVIDER_ID = re.compile(r"aws:///(?:[^/]*/)?(i-[0-9a-f]+)")
_GONE = ("terminated",)
_STOPPED = ("stopped", "stopping")
_LIVE = ("pending", "running", "shutting-down", "stopping", "stopped")


def instance_id(node: Obj) -> str | None:
    """None for a node without a provider ID. CloudError for a node of another cloud: nobody may say that it does not
    exist."""
    provider_id = (node.get("spec") or {}).get("providerID") or ""
    if not provider_id:
        return None
    found = _PROVIDER_ID.fullmatch(provider_id)
    if found is None:
        raise CloudError(
            f"node {node['metadata']['name']} is no EC2 instance: its provider ID is {provider_id}"
        )
    return found[1]


class AwsInstances:
    def __init__(self, aws: Aws, world: World) -> None:
        self._aws = aws
        self._by_id = Batcher(world, self._describe_ids, BATCH)
        self._by_name = Batcher(world, self._describe_names, BATCH)

    async def exists(self, node: Obj) -> bool:
        found = await self.find(node)
        return found is not None and found["State"]["Name"] not in _GONE

    async def is_shut_down(self, node: Obj) -> bool:
        found = await self.find(node)
        return found is not None and found["State"]["Name"] in _STOPPED

    async def describe(self, node: Obj) -> Instance:
        found = await self.find(node)
        if found is None or found["State"]["Name"] in _GONE:
            raise NotFound("instance not found")
        zone = found["Placement"]["AvailabilityZone"]
        return Instance(
            f"aws:///{zone}/{found['InstanceId']}",
            found.get("InstanceType", ""),
            tuple(_addresses(found)),
            zone,
            self._aws.region,
        )

    async def find(self, node: Obj) -> Mapping[str, Any] | None:
        """What EC2 says of a node's instance, terminated ones too while it remembers them."""
        identity = instance_id(node)
        if identity is not None:
            return await self._by_id.ask(identity)
        return await self._by_name.ask(node["metadata"]["name"])

    async def _describe_ids(self, ids: Sequence[str]) -> dict[str, Any]:
        found = await self._describe(filters(instance_id=ids))
        return {instance["InstanceId"]: instance for instance in found}

    async def _describe_names(self, names: Sequence[str]) -> dict[str, Any]:
        """A name may be used again: of its instances one that lives."""
        found = await self._describe(filters(private_dns_name=names, instance_state_name=_LIVE))
        return {instance["PrivateDnsName"]: instance for instance in found}

    async def _describe(self, wanted: list[dict[str, Any]]) -> list[Any]:
        reservations = await self._aws.pages("ec2", "describe_instances", "Reservations", Filters=wanted)
        return [instance for reservation in reservations for instance in reservation["Instances"]]

    async def close(self) -> None:
        await self._by_id.close()
        await self._by_name.close()


def _addresses(instance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """In upstream's order: those of the interfaces, public, names."""
    out: list[tuple[str, str]] = []
    for interface in sorted(instance.get("NetworkInterfaces") or (), key=_device_index):
        out += [("InternalIP", a["PrivateIpAddress"]) for a in interface.get("PrivateIpAddresses") or ()]
        out += [("InternalIP", a["Ipv6Address"]) for a in interface.get("Ipv6Addresses") or ()]
    if not out and instance.get("PrivateIpAddress"):
        out.append(("InternalIP", instance["PrivateIpAddress"]))
    if instance.get("PublicIpAddress"):
        out.append(("ExternalIP", instance["PublicIpAddress"]))
    if instance.get("PrivateDnsName"):
        out += [("InternalDNS", instance["PrivateDnsName"]), ("Hostname", instance["PrivateDnsName"])]
    if instance.get("PublicDnsName"):
        out.append(("ExternalDNS", instance["PublicDnsName"]))
    return list(dict.fromkeys(out))


def _device_index(interface: Mapping[str, Any]) -> int:
    return int((interface.get("Attachment") or {}).get("DeviceIndex", 0))
