"""Which address is behind a service (k8s.io/apiserver/pkg/util/proxy ResolveEndpoint). Nobody routes cluster IPs here,
so an endpoint is asked directly, as with upstream's --enable-aggregator-routing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from pilothouse.api.resources import ENDPOINT_SLICES, PODS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister

SERVICE_NAME = "kubernetes.io/service-name"
DEFAULT_PORT = 443


class Unreachable(Exception):
    """Nothing can be asked at a service; why, for people."""


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Reference(NamedTuple):
    """What an APIService names."""

    namespace: str
    name: str
    port: int

    @property
    def server_name(self) -> str:
        """By which name its certificate must know the server."""
        return f"{self.name}.{self.namespace}.svc"


def reference(api_service: Obj) -> Reference | None:
    """None for what is served here."""
    service = api_service["spec"].get("service")
    if service is None:
        return None
    return Reference(service["namespace"], service["name"], service.get("port") or DEFAULT_PORT)


def slices(lister: Lister, namespace: str, name: str) -> list[Obj]:
    """The EndpointSlices of a service."""
    return [
        piece
        for piece in lister.list(ENDPOINT_SLICES, namespace)
        if (piece["metadata"].get("labels") or {}).get(SERVICE_NAME) == name
    ]


class Resolver:
    """`is_simulated` tells whether nothing listens in a pod."""

    def __init__(self, lister: Lister, random: Random, is_simulated: Callable[[Obj], bool]) -> None:
        self._lister = lister
        self._random = random
        self._is_simulated = is_simulated

    def resolve(self, where: Reference) -> Address:
        """One of the addresses that are ready, by chance. Raises Unreachable."""
        service = self._lister.get(SERVICES, where.name, where.namespace)
        if service is None:
            raise Unreachable(f'service "{where.name}" not found')
        spec = service["spec"]
        if spec.get("type") == "ExternalName":
            return Address(spec["externalName"], where.port)
        port = next((p for p in spec.get("ports") or () if p["port"] == where.port), None)
        if port is None:
            raise Unreachable(f'no service port {where.port} found for service "{where.name}"')
        found = list(self._ready(where, port.get("name") or ""))
        if not found:
            raise Unreachable(f'no endpoints available for service "{where.name}"')
        real = [address for address, pod in found if pod is None or not self._is_simulated(pod)]
        if not real:
            address, pod = found[0]
            assert pod is not None
            meta = pod["metadata"]
            raise Unreachable(
                f"error trying to reach service: dial tcp {address}: connect: connection refused: pod "
                f"{meta['namespace']}/{meta['name']} is simulated and listens on no port"
            )
        return self._random.choice(real)

    def _ready(self, where: Reference, port_name: str) -> Iterator[tuple[Address, Obj | None]]:
        for piece in slices(self._lister, where.namespace, where.name):
            ports = [p["port"] for p in piece.get("ports") or () if (p.get("name") or "") == port_name]
            for endpoint in piece.get("endpoints") or ():
                if not ports or (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                target = endpoint.get("targetRef") or {}
                pod = None
                if target.get("kind") == "Pod":
                    pod = self._lister.get(PODS, target.get("name", ""), where.namespace)
                for host in endpoint["addresses"]:
                    yield Address(host, ports[0]), pod
