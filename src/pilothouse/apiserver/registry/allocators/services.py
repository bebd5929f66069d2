"""What a service gets when it is made or changed, as one reservation (pkg/registry/core/service/storage
alloc.go)."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.resources import ENDPOINTS, IP_ADDRESSES, SERVICES
from pilothouse.api.types import Obj
from pilothouse.api.validation.services import family_of, is_headless, needs_health_check
from pilothouse.apiserver.registry.allocators import families, kept
from pilothouse.apiserver.registry.allocators.cluster_ip import (
    MANAGED_BY_LABEL,
    MANAGER,
    ClusterIPs,
    Refused,
)
from pilothouse.apiserver.registry.allocators.node_port import ALREADY, Book, NodePorts, Operation, ports_of
from pilothouse.apiserver.registry.allocators.objects import Objects
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.kit.world import World

_TRIES = 8


class ServiceAllocators:
    """`service_range` is --service-cluster-ip-range: one range, or one of each family with a comma."""

    def __init__(
        self,
        service_range: str,
        node_ports: tuple[int, int],
        lister: Lister,
        objects: Objects,
        world: World,
        book: Book | None = None,
    ) -> None:
        self.ips = ClusterIPs([part.strip() for part in service_range.split(",")], lister, objects, world)
        self.ports = NodePorts(*node_ports, lister, world, book)
        self._suspects: set[str | int] = set()
        """What nobody had at the last repair, though it is taken."""
        self._lister = lister
        self._objects = objects

    @property
    def family(self) -> str:
        return self.ips.default_family

    def reserve_create(self, service: Obj, *, dry_run: bool) -> Reservation:
        """Fill a new service's addresses and ports. Raises 422 for what cannot be had, 500 when nothing is
        left."""
        kept.synchronize(service["spec"], None)
        families.fill(service, None, self.ips.families)
        reservation = Reservation(self, service, dry_run=dry_run)
        try:
            reservation.take_addresses()
            reservation.take_ports()
        except errors.ApiError:
            reservation.drop()
            raise
        return reservation

    def reserve_update(self, service: Obj, old: Obj, *, dry_run: bool) -> Reservation:
        """The same for an update; what the old service had and the new one has not goes when it is stored."""
        spec, before = service["spec"], old["spec"]
        kept.keep_allocated(spec, before)
        kept.synchronize(spec, before)
        families.fill(service, before, self.ips.families)
        reservation = Reservation(self, service, dry_run=dry_run)
        try:
            reservation.change_addresses(before)
            reservation.change_ports(before)
        except errors.ApiError:
            reservation.drop()
            raise
        reservation.had = set(ports_of(old))
        return reservation

    async def free_ports(self, numbers: set[int]) -> None:
        if numbers and self.ports.book is not None:
            await self.ports.book.give_back(numbers)

    async def release(self, service: Obj) -> None:
        """After a deletion: addresses go back; ports were held by the service itself. Its Endpoints go too."""
        for ip in addresses_of(service["spec"]):
            await self.ips.give_back(ip)
        await self.free_ports(set(ports_of(service)))
        meta = service["metadata"]
        await self._objects.delete(ENDPOINTS, meta["name"], meta["namespace"])

    async def repair(self, *, alone: bool = True) -> int:
        """Make addresses, ports and services agree, as after a crash between two writes; how many were mended
        (pkg/registry/core/service/ipallocator/controller repairip.go, portallocator/controller). Unless this server
        is `alone`, what nobody has may be on its way into a service: it goes when it is found so twice."""
        owners = {
            ip: service for service in self._lister.list(SERVICES) for ip in addresses_of(service["spec"])
        }
        suspects: set[str | int] = {ip for ip in self._managed() if ip not in owners}
        mended = 0
        for ip, service in owners.items():
            if self._lister.get(IP_ADDRESSES, ip) is None and await self.ips.claim(ip, service):
                mended += 1
        book = self.ports.book
        if book is not None:
            held = self.ports.held()
            suspects |= await book.taken() - held
            mended += await book.add(held)
        lost = suspects if alone else suspects & self._suspects
        self._suspects = suspects - lost
        for suspect in lost:
            if isinstance(suspect, str):
                await self.ips.give_back(suspect)
        await self.free_ports({number for number in lost if isinstance(number, int)})
        return mended + len(lost)

    def _managed(self) -> list[str]:
        """Addresses that this kind of allocator took."""
        return [
            obj["metadata"]["name"]
            for obj in self._lister.list(IP_ADDRESSES)
            if (obj["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGER
        ]


def addresses_of(spec: Obj) -> list[str]:
    if spec.get("type") == "ExternalName":
        return []
    return [ip for ip in spec.get("clusterIPs") or () if ip and ip != "None"]


class Reservation:
    """What one request has taken. `settle` ends it in any case."""

    def __init__(self, allocators: ServiceAllocators, service: Obj, *, dry_run: bool) -> None:
        self._allocators = allocators
        self._service = service
        self._spec: Obj = service["spec"]
        self._dry_run = dry_run
        self._operation: Operation | None = None
        self._reserved: dict[str, bool] = {}
        """Addresses; whether the client chose them."""
        self.had: set[int] = set()
        """The ports of the service before an update."""
        self._claimed: list[str] = []
        self._to_release: list[str] = []

    # -- addresses --------------------------------------------------------------------------------------

    def take_addresses(self) -> None:
        spec = self._spec
        if spec.get("type") == "ExternalName" or is_headless(spec):
            return
        ips = list(spec.get("clusterIPs") or ())
        for i, family in enumerate(spec["ipFamilies"]):
            asked = ips[i] if i < len(ips) else ""
            ip = self._take_address(family, asked, ips)
            ips[i : i + 1] = [ip]
        spec["clusterIP"], spec["clusterIPs"] = ips[0], ips

    def _take_address(self, family: str, asked: str, ips: Sequence[str]) -> str:
        allocator = self._allocators.ips
        try:
            if asked:
                ip = allocator.reserve(asked, dry_run=self._dry_run)
            else:
                ip = allocator.reserve_any(family, dry_run=self._dry_run)
        except Refused as refused:
            if not asked:
                raise errors.internal(f"failed to allocate a serviceIP: {refused}") from None
            raise self._refused(list(ips), f"failed to allocate IP {asked}: {refused}") from None
        if not self._dry_run:
            self._reserved[ip] = bool(asked)
        return asked or ip

    def _refused(self, ips: list[str], why: str) -> errors.ApiError:
        found = [f.invalid("spec.clusterIPs", ips, why)]
        return errors.invalid("", "Service", self._service["metadata"].get("name", ""), found)

    def change_addresses(self, before: Obj) -> None:
        """From ExternalName: all anew. To ExternalName: all go. A second family may come or go."""
        spec = self._spec
        if families.matches_prefer_dual_stack(spec, before):
            return
        if before.get("type") == "ExternalName":
            self.take_addresses()
            return
        if is_headless(before):
            return
        if spec.get("type") == "ExternalName":
            self._to_release = addresses_of(before)
            return
        old, new = before.get("ipFamilies") or [], spec.get("ipFamilies") or []
        if len(old) == 1 and len(new) == 2:
            ips = list(spec.get("clusterIPs") or ())
            asked = ips[1] if len(ips) > 1 else ""
            ips[1:2] = [self._take_address(new[1], asked, ips)]
            spec["clusterIPs"] = ips
        elif len(old) == 2 and len(new) == 1:
            self._to_release = (before.get("clusterIPs") or [])[1:2]

    # -- ports ------------------------------------------------------------------------------------------

    def _ports(self) -> Operation:
        if self._operation is None:
            self._operation = Operation(self._allocators.ports, dry_run=self._dry_run)
        return self._operation

    def take_ports(self) -> None:
        if self._spec.get("type") in ("NodePort", "LoadBalancer"):
            self._take_node_ports()
        if needs_health_check(self._spec):
            self._take_health_check_port()

    def _take_node_ports(self) -> None:
        """Ports with the same number and another protocol share a node port."""
        ports: list[Obj] = self._spec.get("ports") or []
        known: dict[int, int] = {}
        for i, port in enumerate(ports):
            asked, number = port.get("nodePort", 0), port.get("port", 0)
            if not asked and not kept.allocates_node_ports(self._spec):
                continue
            shared = known.get(number, 0)
            if not shared:
                wanted = next(
                    (p["nodePort"] for p in ports if p.get("port") == number and p.get("nodePort")), 0
                )
                port["nodePort"] = known[number] = self._take_port(i, wanted)
            elif not asked:
                port["nodePort"] = shared
            elif asked != shared:
                self._take_port(i, asked)

    def _take_port(self, index: int, asked: int) -> int:
        operation = self._ports()
        try:
            if not asked:
                return operation.allocate_next()
            operation.allocate(asked)
        except Refused as refused:
            if not asked:
                raise errors.internal(f"failed to allocate a nodePort: {refused}") from None
            found = [f.invalid(f"spec.ports[{index}].nodePort", asked, str(refused))]
            name = self._service["metadata"].get("name", "")
            raise errors.invalid("", "Service", name, found) from None
        return asked

    def _take_health_check_port(self) -> None:
        asked = self._spec.get("healthCheckNodePort", 0)
        operation = self._ports()
        try:
            if asked:
                operation.allocate(asked)
            else:
                self._spec["healthCheckNodePort"] = operation.allocate_next()
        except Refused as refused:
            what = f"requested HealthCheck NodePort {asked}" if asked else "a HealthCheck NodePort 0"
            raise errors.internal(f"failed to allocate {what}: {refused}") from None

    def change_ports(self, before: Obj) -> None:
        if self._spec.get("type") in ("NodePort", "LoadBalancer"):
            self._change_node_ports(before)
        if needs_health_check(self._spec) and not needs_health_check(before):
            self._take_health_check_port()

    def _change_node_ports(self, before: Obj) -> None:
        had = {port["nodePort"] for port in before.get("ports") or () if port.get("nodePort")}
        seen: set[tuple[str, int]] = set()
        for i, port in enumerate(self._spec.get("ports") or ()):
            asked = port.get("nodePort", 0)
            if not asked and not kept.allocates_node_ports(self._spec):
                continue
            if not asked:
                port["nodePort"] = self._take_port(i, 0)
            elif asked not in had and not any(number == asked for _, number in seen):
                self._take_port(i, asked)
            key = (port.get("protocol", ""), port["nodePort"])
            if key in seen:
                raise errors.ApiError(500, "", f"duplicate nodePort: {{{key[0]} {key[1]}}}")
            seen.add(key)

    # -- the end ----------------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Make the IPAddress objects, and take the ports, before the service is stored. Another server may have been
        faster: a chosen address or port is then refused, any other replaced."""
        await self._claim_addresses()
        await self._book_ports()

    async def _claim_addresses(self) -> None:
        for ip, chosen in list(self._reserved.items()):
            claimed = ip
            for _ in range(_TRIES):
                if await self._allocators.ips.claim(claimed, self._service):
                    break
                if chosen:
                    ips = list(self._spec["clusterIPs"])
                    why = f"failed to allocate IP {ip}: provided IP is already allocated"
                    raise self._refused(ips, why)
                claimed = self._replace(claimed)
            else:
                raise errors.internal("failed to allocate a serviceIP: range is full")
            self._claimed.append(claimed)

    async def _book_ports(self) -> None:
        if self._operation is None:
            return
        try:
            replaced = await self._operation.book()
        except Refused:
            ports = [port.get("nodePort", 0) for port in self._spec.get("ports") or ()]
            found = [f.invalid("spec.ports[0].nodePort", ports[0] if ports else 0, ALREADY)]
            name = self._service["metadata"].get("name", "")
            raise errors.invalid("", "Service", name, found) from None
        for port in self._spec.get("ports") or ():
            if port.get("nodePort") in replaced:
                port["nodePort"] = replaced[port["nodePort"]]
        if self._spec.get("healthCheckNodePort") in replaced:
            self._spec["healthCheckNodePort"] = replaced[self._spec["healthCheckNodePort"]]

    def _replace(self, ip: str) -> str:
        spec = self._spec
        new = self._take_address(family_of(ip), "", spec["clusterIPs"])
        self._allocators.ips.release(ip)
        self._reserved.pop(ip)
        spec["clusterIPs"] = [new if other == ip else other for other in spec["clusterIPs"]]
        spec["clusterIP"] = spec["clusterIPs"][0]
        return new

    async def settle(self, stored: bool | None) -> None:
        """Stored: what is not needed any more goes back. Not stored: what was taken goes back. Not known: neither."""
        try:
            unwanted = () if stored is None else self._to_release if stored else self._claimed
            for ip in unwanted:
                if not self._dry_run:
                    await self._allocators.ips.give_back(ip)
            if stored:
                await self._allocators.free_ports(self.had - set(ports_of(self._service)))
            elif stored is not None and self._operation is not None:
                await self._operation.cancel()
        finally:
            self.drop()

    def drop(self) -> None:
        """End the reservations in memory."""
        for ip in self._reserved:
            self._allocators.ips.release(ip)
        if self._operation is not None:
            self._operation.finish()
