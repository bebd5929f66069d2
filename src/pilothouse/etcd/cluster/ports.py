"""Local ports that are free, and will be at the next start as far as one can tell."""

from __future__ import annotations

import socket
from collections.abc import Collection
from pathlib import Path
from random import Random

from pilothouse.etcd.contract import StoreError

_FIRST = 20_000
_LAST = 32_767
"""Below the range from which the kernel gives connections their own ports: one of those would be taken now and then
when a member comes back (Linux: ip_local_port_range)."""
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 2_000


def free_ports(random: Random, count: int, taken: Collection[int] = ()) -> list[int]:
    """StoreError when there are none."""
    found: list[int] = []
    last = _last()
    for _ in range(_TRIES):
        if len(found) == count:
            return found
        port = random.randint(_FIRST, last)
        if port not in found and port not in taken and is_free(port):
            found.append(port)
    raise StoreError(
        f"there are not {count} free ports between {_FIRST} and {last} on 127.0.0.1: end what uses them"
    )


def _last() -> int:
    try:
        lowest = int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _LAST
    return lowest - 1 if lowest > _FIRST + 1_000 else 60_999


def is_free(port: int) -> bool:
    """Whether a server could listen there, as Go's would: a connection that is only fading away does not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
