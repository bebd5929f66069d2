"""Load balancers of one machine: a set of listening ports for each service, on an address of its own."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address, ip_network

from pilothouse.api.resources import ENDPOINT_SLICES, NODES, SERVICES
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informer, Informers, key_of
from pilothouse.cloud.provider import CloudError, Ingress
from pilothouse.cloud.providers.local import addresses, endpoints
from pilothouse.cloud.providers.local.config import Config
from pilothouse.cloud.providers.local.endpoints import Choice, Endpoint
from pilothouse.cloud.providers.local.instances import is_simulated
from pilothouse.cloud.providers.local.tcp import Front, TcpForwarder
from pilothouse.cloud.providers.local.udp import UdpForwarder
from pilothouse.kit.world import World

Forwarder = TcpForwarder | UdpForwarder
_FORWARDERS: dict[str, type[TcpForwarder] | type[UdpForwarder]] = {"TCP": TcpForwarder, "UDP": UdpForwarder}
Port = tuple[str, int]
"""(protocol, number)"""


_MOVES_MAX = 64
"""Addresses that are tried for a new service."""


class PortTaken(CloudError):
    """Somebody else on this machine listens there."""

    def __init__(self, message: str, address: str) -> None:
        super().__init__(message)
        self.address = address


@dataclass(slots=True)
class _Served:
    """One service's load balancer. `service` is the latest version; forwarders read it anew for each connection."""

    service: Obj
    address: str
    nodes: frozenset[str]
    choices: dict[Port, Choice] = field(default_factory=dict)
    forwarders: dict[Port, Forwarder] = field(default_factory=dict)


class LocalLoadBalancers:
    def __init__(self, config: Config, cluster: str, informers: Informers, world: World) -> None:
        self._config = config
        self._cluster = cluster
        self._world = world
        self._services: Informer = informers.informer(SERVICES)
        self._nodes: Informer = informers.informer(NODES)
        self._slices: Informer = informers.informer(ENDPOINT_SLICES)
        self._slices.add_index("service", _service_of)
        self._served: dict[str, _Served] = {}

    def name(self, service: Obj) -> str:
        return f"{self._cluster}-{service['metadata']['uid']}"

    async def get(self, service: Obj) -> tuple[Ingress, ...] | None:
        served = self._served.get(service["metadata"]["uid"])
        return _reached(served) if served is not None else None

    async def ensure(self, service: Obj, nodes: Sequence[Obj]) -> tuple[Ingress, ...]:
        """A service that has no address yet gets one whose ports nobody else on this machine has: another cluster may
        give away the same addresses."""
        busy: set[str] = set()
        while True:
            try:
                return await self._ensure(service, self._address(service, busy), nodes)
            except PortTaken as error:
                if len(busy) == _MOVES_MAX or not self._may_move(service):
                    raise
                busy.add(error.address)
                await self.delete(service)

    async def _ensure(self, service: Obj, address: str, nodes: Sequence[Obj]) -> tuple[Ingress, ...]:
        uid = service["metadata"]["uid"]
        served = self._served.get(uid)
        if served is None or served.address != address:
            await self.delete(service)
            served = self._served[uid] = _Served(service, address, frozenset())
        served.service = service
        served.nodes = frozenset(key_of(node) for node in nodes)
        await self._listen(served)
        return _reached(served)

    def _may_move(self, service: Obj) -> bool:
        asked = service["spec"].get("loadBalancerIP")
        return not (self._config.shared_address or asked or addresses.held(service))

    async def update(self, service: Obj, nodes: Sequence[Obj]) -> None:
        await self.ensure(service, nodes)

    async def delete(self, service: Obj) -> None:
        served = self._served.pop(service["metadata"]["uid"], None)
        if served is not None:
            for forwarder in served.forwarders.values():
                await forwarder.stop()

    async def close(self) -> None:
        for served in list(self._served.values()):
            await self.delete(served.service)

    # -- ports -------------------------------------------------------------------------------------------

    def _address(self, service: Obj, busy: Collection[str]) -> str:
        if self._config.shared_address:
            return self._config.shared_address
        uid = service["metadata"]["uid"]
        others = addresses.taken(self._services.list(), but=uid)
        others |= {served.address for other, served in self._served.items() if other != uid}
        return addresses.address_for(service, self._config.addresses, others | {*busy})

    async def _listen(self, served: _Served) -> None:
        wanted = {(_protocol(port), int(port["port"])): port for port in served.service["spec"]["ports"]}
        for gone in served.forwarders.keys() - wanted.keys():
            await served.forwarders.pop(gone).stop()
        for key in wanted:
            served.choices[key] = self._choice(served, key)
            if key not in served.forwarders:
                served.forwarders[key] = await self._forwarder(served, key)

    def _choice(self, served: _Served, key: Port) -> Choice:
        """A new one where the policy changed: clients keep their endpoints otherwise."""
        spec = served.service["spec"]
        affinity_s = 0.0
        if spec.get("sessionAffinity") == "ClientIP":
            config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
            affinity_s = float(config.get("timeoutSeconds") or endpoints.AFFINITY_S)
        by_node = spec.get("externalTrafficPolicy") == "Local"
        present = served.choices.get(key)
        if present is not None and (present.affinity_s, present.by_node) == (affinity_s, by_node):
            return present
        return Choice(self._world.random, affinity_s, by_node)

    async def _forwarder(self, served: _Served, key: Port) -> Forwarder:
        protocol, number = key
        if protocol not in _FORWARDERS:
            raise CloudError(f"protocol {protocol} is not served here; TCP and UDP are")
        front = Front(served.address, number, key_of(served.service))
        choose = partial(self._choose, served, key)
        forwarder: Forwarder = _FORWARDERS[protocol](front, choose, self._is_simulated, self._world)
        try:
            await forwarder.start()
        except OSError as error:
            why = _why(error, served.address, key)
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(why, served.address) from error
            raise CloudError(why) from error
        return forwarder

    # -- one connection ------------------------------------------------------------------------------------

    def _choose(self, served: _Served, key: Port, client: str) -> Endpoint | None:
        spec = served.service["spec"]
        if not _is_admitted(client, spec.get("loadBalancerSourceRanges") or ()):
            return None
        port = next(p for p in spec["ports"] if (_protocol(p), p["port"]) == key)
        found = endpoints.behind(self._slices.by_index("service", key_of(served.service)), port)
        if served.choices[key].by_node:
            found = [endpoint for endpoint in found if endpoint.node in served.nodes]
        return served.choices[key].of(client, found, self._world.clock.monotonic())

    def _is_simulated(self, endpoint: Endpoint) -> bool:
        node = self._nodes.get(endpoint.node)
        return node is not None and is_simulated(node)


def _reached(served: _Served) -> tuple[Ingress, ...]:
    return (Ingress(ip=served.address, ip_mode="Proxy"),)


def _protocol(port: Obj) -> str:
    return str(port.get("protocol") or "TCP")


def _service_of(piece: Obj) -> Iterable[str]:
    meta = piece["metadata"]
    name = (meta.get("labels") or {}).get("kubernetes.io/service-name")
    return (f"{meta['namespace']}/{name}",) if name else ()


def _is_admitted(client: str, ranges: Sequence[str]) -> bool:
    """spec.loadBalancerSourceRanges; none lets everybody in."""
    if not ranges:
        return True
    address = ip_address(client)
    return any(address in ip_network(text.strip(), strict=False) for text in ranges)


def _why(error: OSError, address: str, key: Port) -> str:
    what = f"cannot listen on {address} port {key[1]}/{key[0]}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{what}: another program, or another service, has it"
        case errno.EACCES:
            return (
                f"{what}: ports below 1024 need root or CAP_NET_BIND_SERVICE; give the service another port"
            )
        case errno.EADDRNOTAVAIL:
            return f"{what}: it is no address of this machine; see loadBalancers in the cloud's configuration"
    return f"{what}: {error.strerror or error}"
