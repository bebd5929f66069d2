"""The node networks of one cluster network: which are taken, and the next that is free
(k8s.io/kubernetes/pkg/controller/nodeipam/ipam/cidrset).

    10.244.0.0/16 in /24s:   0 ▒  1 ▒  2 ·  3 ▒ ... 255 ·      ▒ taken, · free
                                       ▲ next: goes round, so that a network that was given back rests for a while
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network

SUBNET_BITS_MAX = 16
"""A set of more than 2**16 networks would not fit in memory (clusterSubnetMaxDiff)."""


class NoneLeft(Exception):
    """All networks are taken."""

    def __init__(self) -> None:
        super().__init__(
            "CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range"
        )


class CidrSet:
    """`cluster` is divided into networks of `mask` bits. ValueError when they are too many, or larger than it."""

    def __init__(self, cluster: Network, mask: int) -> None:
        if mask < cluster.prefixlen or mask > cluster.max_prefixlen:
            raise ValueError(
                f"invalid node CIDR mask size /{mask} for cluster CIDR {cluster}: it must be at least "
                f"/{cluster.prefixlen} and at most /{cluster.max_prefixlen}"
            )
        if cluster.version == 6 and mask - cluster.prefixlen > SUBNET_BITS_MAX:
            raise ValueError("New CIDR set failed; the node CIDR size is too big")
        self.cluster = cluster
        self.mask = mask
        self.size = 1 << (mask - cluster.prefixlen)
        self._taken: set[int] = set()
        self._next = 0

    def __len__(self) -> int:
        """How many are taken."""
        return len(self._taken)

    def allocate(self) -> tuple[Network, int]:
        """Take the next free network; it and how many were looked at. NoneLeft."""
        if len(self._taken) >= self.size:
            raise NoneLeft
        for tried in range(self.size):
            index = (self._next + tried) % self.size
            if index not in self._taken:
                self._taken.add(index)
                self._next = (index + 1) % self.size
                return self._network(index), tried + 1
        raise NoneLeft

    def occupy(self, network: Network) -> None:
        """Take all that `network` touches. ValueError outside the cluster's network."""
        self._taken.update(self._touched(network))

    def release(self, network: Network) -> None:
        """Give all that `network` touches back. ValueError outside the cluster's network."""
        self._taken.difference_update(self._touched(network))

    def _touched(self, network: Network) -> range:
        if network.version != self.cluster.version or not network.overlaps(self.cluster):
            raise ValueError(f"cidr {network} is out the range of cluster cidr {self.cluster}")
        if network.prefixlen <= self.cluster.prefixlen:
            return range(self.size)
        shift = self.cluster.max_prefixlen - self.mask
        base = int(self.cluster.network_address)
        first = (int(network.network_address) - base) >> shift
        last = (int(network.broadcast_address) - base) >> shift
        return range(first, last + 1)

    def _network(self, index: int) -> Network:
        first = int(self.cluster.network_address) + (index << (self.cluster.max_prefixlen - self.mask))
        made: type[Network] = IPv4Network if self.cluster.version == 4 else IPv6Network
        return made((first, self.mask))
