"""What a node becomes of what the cloud knows about its machine; pure (k8s.io/cloud-provider/controllers/node)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pilothouse.api.taints import of_node
from pilothouse.api.types import Obj
from pilothouse.cloud.node_taints import UNINITIALIZED
from pilothouse.cloud.provider import CloudError, Instance

PROVIDED_IP = "alpha.kubernetes.io/provided-node-ip"
"""The addresses that the kubelet was told to use (--node-ip), with commas between them."""
_TYPE = ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type")
_ZONE = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone")
_REGION = ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region")
_RESERVED = re.compile(r"(^|\.)(kubernetes|k8s)\.io/")

Address = tuple[str, str]


def described(node: Obj, instance: Instance) -> Obj:
    """The node with its provider ID and labels, and without the taint that kept pods away. CloudError where the cloud
    gives no provider ID, or does not know the address that the kubelet uses."""
    spec = dict(node.get("spec") or {})
    provider_id = spec.get("providerID") or instance.provider_id
    if not provider_id:
        raise CloudError(f"cloud provider does not set node provider ID for node {node['metadata']['name']}")
    spec["providerID"] = provider_id
    spec["taints"] = [taint for taint in of_node(node) if taint["key"] != UNINITIALIZED]
    preferred(node, instance.addresses)
    labels = with_facts(node["metadata"].get("labels") or {}, instance)
    return {**node, "metadata": {**node["metadata"], "labels": labels}, "spec": spec}


def with_facts(labels: Mapping[str, str], instance: Instance) -> dict[str, str]:
    """Type, zone and region under their two names each; the provider's own labels where nobody else set them."""
    out = dict(labels)
    for value, keys in ((instance.type, _TYPE), (instance.zone, _ZONE), (instance.region, _REGION)):
        if value:
            out.update((key, value) for key in keys)
    for key, value in instance.labels.items():
        if not _RESERVED.search(key):
            out.setdefault(key, value)
    return out


def twins(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels to set so that the present names of type, zone and region say what their old names say."""
    return {
        new: labels[old]
        for old, new in (_ZONE, _REGION, _TYPE)
        if old in labels and labels.get(new) != labels[old]
    }


def addresses(node: Obj, instance: Instance) -> list[Obj] | None:
    """status.addresses as they should be; None where they are so already, or the cloud knows none. The kubelet's host
    name stays where the cloud has none. CloudError as `preferred`."""
    if not instance.addresses:
        return None
    wanted = list(instance.addresses)
    present = [(a["type"], a["address"]) for a in (node.get("status") or {}).get("addresses") or ()]
    if all(kind != "Hostname" for kind, _ in wanted):
        wanted += [address for address in present if address[0] == "Hostname"]
    wanted = preferred(node, wanted)
    return None if wanted == present else [{"type": kind, "address": address} for kind, address in wanted]


def preferred(node: Obj, known: Iterable[Address]) -> list[Address]:
    """Of each type that has an address that the kubelet was told to use, that one alone, and first; then the other
    types. CloudError where the cloud does not know such an address."""
    known = list(known)
    given = (node["metadata"].get("annotations") or {}).get(PROVIDED_IP)
    if not given:
        return known
    first: list[Address] = []
    for ip in given.split(","):
        same = [address for address in known if address[1] == ip]
        if not same:
            raise CloudError(
                f"provided node ip for node {node['metadata']['name']!r} is not valid: "
                f"failed to get node address from cloud provider that matches ip: {ip}"
            )
        first += same
    types = {kind for kind, _ in first}
    return first + [address for address in known if address[0] not in types]
