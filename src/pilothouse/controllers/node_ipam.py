"""Node IPAM: every node gets a network for its pods, one of each IP family, and no two the same
(k8s.io/kubernetes/pkg/controller/nodeipam, its RangeAllocator).

    node comes without podCIDRs ──▶ the next free ones are written into its spec
    node comes with some        ──▶ they are taken: nobody else gets them
    node goes                   ──▶ they are free again

Before the first one is given away, those of all nodes are taken: a manager that starts anew gives none twice.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller, Environment, TryAgain
from pilothouse.controllers.cidr_set import CidrSet, Network, NoneLeft
from pilothouse.kit.metrics import counter, exponential_buckets, gauge, histogram

log = logging.getLogger(__name__)

_MASKS = {4: 24, 6: 64}
_WRITES = 3
_PREFIX = "node_ipam_controller_"


@dataclass(frozen=True, slots=True)
class PodNetworks:
    """What is given away: `clusters` with the `masks` of a node's part, one of each IP family at most; nothing that
    touches `services`."""

    clusters: tuple[Network, ...]
    masks: tuple[int, ...]
    services: tuple[Network, ...] = ()


def pod_networks(
    clusters: str, services: str = "", mask: int = 0, masks: Mapping[int, int] | None = None
) -> PodNetworks:
    """From --cluster-cidr, --service-cluster-ip-range, --node-cidr-mask-size and, by IP version,
    --node-cidr-mask-size-ipv4 and -ipv6 (0: not given). ValueError for what does not go together."""
    found = _networks(clusters)
    own = {version: size for version, size in (masks or {}).items() if size}
    if len(found) > 1 and mask:
        raise ValueError("usage of --node-cidr-mask-size is not allowed with dual-stack clusters")
    if mask and own:
        raise ValueError(
            "usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if "
            "--node-cidr-mask-size is set. For dual-stack clusters please unset it and use IPFamily specific flags"
        )
    versions = {network.version for network in found}
    for version in own:
        if version not in versions:
            only = 10 - version
            raise ValueError(
                f"usage of --node-cidr-mask-size-ipv{version} is not allowed for a single-stack IPv{only} cluster"
            )
    sizes = tuple(mask or own.get(network.version, _MASKS[network.version]) for network in found)
    for network, size in zip(found, sizes, strict=True):
        CidrSet(network, size)
    return PodNetworks(found, sizes, _networks(services))


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


class NodeIpamController(Controller):
    name: ClassVar[str] = "node-ipam-controller"
    queue_name: ClassVar[str] = "cidrallocator_node"
    workers: ClassVar[int] = 30

    def __init__(self, env: Environment, networks: PodNetworks) -> None:
        super().__init__(env)
        self._sets = [CidrSet(c, mask) for c, mask in zip(networks.clusters, networks.masks, strict=True)]
        self._held: dict[str, tuple[str, ...]] = {}
        """Networks by the name of the node that has them."""
        self._metrics = [_SetMetrics(env, one) for one in self._sets]
        for one in self._sets:
            for service in networks.services:
                if service.version == one.cluster.version and service.overlaps(one.cluster):
                    one.occupy(service)

    def setup(self) -> None:
        self._nodes = self.watch(NODES)

    async def run(self) -> None:
        await asyncio.gather(*(informer.synced() for informer in self._sources))
        for node in self._nodes.list():
            self._take(node)
        await super().run()

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            self._release(self._held.pop(key, ()))
            return None
        if _cidrs(node):
            self._take(node)
            return None
        if key not in self._held:
            self._held[key] = self._allocate(node)
        await self._write(node, self._held[key])
        return None

    def _take(self, node: Obj) -> None:
        """What the node has is its own; what was put by for it and it does not have is free again."""
        name, cidrs = node["metadata"]["name"], _cidrs(node)
        if not cidrs or self._held.get(name) == cidrs:
            return
        self._release(self._held.pop(name, ()))
        for index, (one, cidr) in enumerate(zip(self._sets, cidrs, strict=False)):
            try:
                one.occupy(ipaddress.ip_network(cidr, strict=False))
            except ValueError as error:
                log.error(
                    "failed to mark cidr[%s] at idx [%d] as occupied for node: %s: %s",
                    cidr,
                    index,
                    name,
                    error,
                )
        self._held[name] = cidrs

    def _allocate(self, node: Obj) -> tuple[str, ...]:
        """TryAgain, with an event, when one is used up."""
        found: list[str] = []
        for index, (one, metrics) in enumerate(zip(self._sets, self._metrics, strict=True)):
            try:
                network, tries = one.allocate()
            except NoneLeft as error:
                self._release(tuple(found))
                self._tell(node, "CIDRNotAvailable")
                raise TryAgain(f"failed to allocate cidr from cluster cidr at idx:{index}: {error}") from None
            metrics.allocated(tries)
            found.append(str(network))
        return tuple(found)

    def _release(self, cidrs: Iterable[str]) -> None:
        for one, metrics, cidr in zip(self._sets, self._metrics, cidrs, strict=False):
            try:
                one.release(ipaddress.ip_network(cidr, strict=False))
            except ValueError as error:
                log.error("when releasing cidr: %s", error)
                continue
            metrics.released()

    async def _write(self, node: Obj, cidrs: tuple[str, ...]) -> None:
        """A refusal gives the networks back; an outage does not, as the write may have come through."""
        name = node["metadata"]["name"]
        body = {"spec": {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)}}
        for attempt in range(1, _WRITES + 1):
            try:
                await self.client.patch(NODES, name, body, patch_type="strategic")
            except ApiError as error:
                if error.code == 404:
                    self._release(self._held.pop(name, ()))
                    return
                if attempt < _WRITES:
                    continue
                self._tell(node, "CIDRAssignmentFailed")
                if error.code not in (500, 503, 504):
                    self._release(self._held.pop(name, ()))
                raise
            return

    def _tell(self, node: Obj, status: str) -> None:
        meta = node["metadata"]
        regarding = {"kind": "Node", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        self.recorder.event(regarding, "Normal", status, f"Node {meta['name']} status is now: {status}")


class _SetMetrics:
    """One cluster network's part of upstream's families (nodeipam/ipam/cidrset/metrics.go, whose spelling is kept)."""

    def __init__(self, env: Environment, one: CidrSet) -> None:
        labels, network = ["clusterCIDR"], str(one.cluster)
        self._allocations = counter(
            env.metrics,
            f"{_PREFIX}cidrset_cidrs_allocations",
            "Counter measuring total number of CIDR allocations.",
            labels,
        ).labels(network)
        self._releases = counter(
            env.metrics,
            f"{_PREFIX}cidrset_cidrs_releases",
            "Counter measuring total number of CIDR releases.",
            labels,
        ).labels(network)
        self._tries = histogram(
            env.metrics,
            f"{_PREFIX}cidrset_allocation_tries_per_request",
            "Histogram measuring CIDR allocation tries per request.",
            labels,
            exponential_buckets(1, 5, 5),
        ).labels(network)
        gauge(
            env.metrics,
            f"{_PREFIX}cidrset_usage_cidrs",
            "Gauge measuring percentage of allocated CIDRs.",
            labels,
        ).labels(network).set_function(lambda: len(one) / one.size)
        gauge(
            env.metrics,
            f"{_PREFIX}cirdset_max_cidrs",
            "Maximum number of CIDRs that can be allocated.",
            labels,
        ).labels(network).set(one.size)

    def allocated(self, tries: int) -> None:
        self._allocations.inc()
        self._tries.observe(tries)

    def released(self) -> None:
        self._releases.inc()


def _cidrs(node: Obj) -> tuple[str, ...]:
    spec = node.get("spec") or {}
    return tuple(spec.get("podCIDRs") or ((spec["podCIDR"],) if spec.get("podCIDR") else ()))
