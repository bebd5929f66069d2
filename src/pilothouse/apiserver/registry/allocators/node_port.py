"""Node ports, health-check ports among them: one range for all services of a cluster
(pkg/registry/core/service/portallocator).

A server that has the store to itself finds what is taken in the services. Of several servers each may choose the
same free port in the same moment: the ports are then taken in the store, too, before a service is stored."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol

from pilothouse.api.resources import SERVICES
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.allocators.cluster_ip import Refused
from pilothouse.apiserver.registry.allocators.pool import Full, Pool, kept_back
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.kit.world import World

_KEPT_BACK_MIN = 16
_KEPT_BACK_MAX = 128
_KEPT_BACK_SHARE = 32
_DRY_RUN_BASE = 32768
ALREADY = "provided port is already allocated"


class Book(Protocol):
    """What is taken in the store (`storage.range_allocation`)."""

    async def take(self, numbers: Collection[int]) -> set[int]:
        """All of them, or none: then those that somebody has."""

    async def give_back(self, numbers: Collection[int]) -> None: ...

    async def add(self, numbers: Collection[int]) -> int:
        """Take those that are free; how many."""

    async def taken(self) -> set[int]: ...


class NodePorts:
    """`first` and `last` are --service-node-port-range; `book` is where several servers keep what is taken."""

    def __init__(self, first: int, last: int, lister: Lister, world: World, book: Book | None = None) -> None:
        self.book = book
        size = last - first + 1
        static = kept_back(size, least=_KEPT_BACK_MIN, most=_KEPT_BACK_MAX, share=_KEPT_BACK_SHARE)
        self.pool = Pool(first, last, static)
        self.world = world
        self._lister = lister

    def held(self) -> set[int]:
        """The ports of all stored services."""
        return {number for service in self._lister.list(SERVICES) for number in ports_of(service)}


def ports_of(service: Obj) -> Iterator[int]:
    spec = service["spec"]
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port["nodePort"]
    if spec.get("healthCheckNodePort"):
        yield spec["healthCheckNodePort"]


class Operation:
    """The ports that one request takes (portallocator PortAllocationOperation). A dry run takes none: it
    makes numbers up and looks at no range."""

    def __init__(self, ports: NodePorts, *, dry_run: bool) -> None:
        self._ports = ports
        self._dry_run = dry_run
        self._held = set() if dry_run else ports.held()
        self._mine: list[int] = []
        self._chosen: set[int] = set()
        self._booked: set[int] = set()

    def allocate(self, number: int) -> None:
        """Raises Refused."""
        pool = self._ports.pool
        if self._dry_run:
            if number in self._mine:
                raise Refused(ALREADY)
        elif number not in pool:
            valid = f"{pool.first}-{pool.last}"
            raise Refused(f"provided port is not in the valid range. The range of valid ports is {valid}")
        elif not pool.reserve(number, self._held.__contains__):
            raise Refused(ALREADY)
        self._mine.append(number)
        self._chosen.add(number)

    def allocate_next(self) -> int:
        """Raises Refused when the range is full."""
        if self._dry_run:
            number = max(self._mine, default=_DRY_RUN_BASE) + 1
        else:
            try:
                number = self._ports.pool.pick(self._held.__contains__, self._ports.world.random)
            except Full:
                raise Refused("range is full") from None
        self._mine.append(number)
        return number

    async def book(self) -> dict[int, int]:
        """Take all of them in the store, too. Ports that another server was faster to take are replaced: the old
        number and the new one of each. Raises Refused when the client chose one of those."""
        replaced: dict[int, int] = {}
        book = self._ports.book
        if book is None or self._dry_run or not self._mine:
            return replaced
        while refused := await book.take(self._mine):
            if refused & self._chosen:
                raise Refused(ALREADY)
            self._held |= refused
            for number in refused:
                self._replace(number, replaced)
        self._booked = set(self._mine)
        return replaced

    def _replace(self, number: int, replaced: dict[int, int]) -> None:
        self._mine.remove(number)
        self._ports.pool.release(number)
        first = next((old for old, new in replaced.items() if new == number), number)
        replaced[first] = self.allocate_next()

    async def cancel(self) -> None:
        """What was taken in the store is not wanted after all."""
        booked, self._booked = self._booked, set()
        if booked and self._ports.book is not None:
            await self._ports.book.give_back(booked)

    def finish(self) -> None:
        """Stored or not wanted: no reservation is needed any more."""
        if not self._dry_run:
            for number in self._mine:
                self._ports.pool.release(number)
        self._mine.clear()
