"""Addresses of nodes and pods: one for each node in 10.88.0.0/16, 254 for the pods of each.

Pod ranges are /24, the first 3,072 from 10.244.0.0, the next 29,696 from 10.128.0.0.
"""

from __future__ import annotations

import ipaddress

_NODES = int(ipaddress.ip_address("10.88.0.0"))
_FIRST = int(ipaddress.ip_address("10.244.0.0"))
_SECOND = int(ipaddress.ip_address("10.128.0.0"))
_FIRST_COUNT = 3072
_RANGE = 256
PODS = "10.128.0.0/9"
"""The network that has the pods of all nodes."""
_LAST = 254


def node_address(index: int) -> str:
    return str(ipaddress.ip_address(_NODES + 2 + index))


def node_index(address: str) -> int | None:
    """Whose address it is; None for one that is not from here."""
    try:
        index = int(ipaddress.IPv4Address(address)) - _NODES - 2
    except ValueError:
        return None
    return index if 0 <= index < 2**16 - 2 else None


def _base(index: int) -> int:
    if index < _FIRST_COUNT:
        return _FIRST + index * _RANGE
    return _SECOND + (index - _FIRST_COUNT) * _RANGE


def pod_range(index: int) -> str:
    return f"{ipaddress.ip_address(_base(index))}/24"


class PodAddresses:
    """Which are taken, as one bit each: .2 to .254, the one freed longest ago first."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}
        self._next: dict[int, int] = {}

    def take(self, index: int) -> str:
        """One of the node's; the last ones twice when a node has more pods than addresses."""
        taken, number = self._taken.get(index, 0), self._next.get(index, 2)
        for _ in range(_LAST):
            if not taken >> number & 1:
                break
            number = number + 1 if number < _LAST else 2
        self._taken[index] = taken | 1 << number
        self._next[index] = number + 1 if number < _LAST else 2
        return str(ipaddress.ip_address(_base(index) + number))

    def mark(self, index: int, address: str) -> None:
        number = self._number(index, address)
        if number is not None:
            self._taken[index] = self._taken.get(index, 0) | 1 << number

    def release(self, index: int, address: str) -> None:
        number = self._number(index, address)
        if number is not None:
            self._taken[index] = self._taken.get(index, 0) & ~(1 << number)

    def _number(self, index: int, address: str) -> int | None:
        number = int(ipaddress.ip_address(address)) - _base(index)
        return number if 0 <= number < _RANGE else None
