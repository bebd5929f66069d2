"""What a cloud can do (k8s.io/cloud-provider `Interface`, with the volume calls of a CSI controller beside it).

A provider has four faces, each None where the cloud has nothing of the kind:

    Provider ─┬─ instances        is the machine behind a node there, is it shut down, what is it
              ├─ load_balancers   one for a Service of type LoadBalancer
              ├─ routes           a node's pod networks in the cloud's own network
              └─ volumes          disks: create, attach, detach, expand, snapshot, delete

Every call may be repeated: it brings the cloud to what is asked for and does nothing where it is so already. Calls take
as long as the cloud does, and are cancelled when the component stops. They raise

    CloudError                    the cloud refuses or does not answer; the message is for people (events, conditions)
    ├── NotFound                  there is no such instance, volume, …
    ├── NoRoom                    a quota or the capacity of a place is used up
    └── Later                     not done yet: come again in `after_s` seconds

Nodes, services and pods are API objects as the API server gives them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pilothouse.api.types import Obj


class CloudError(Exception):
    """The cloud refuses, fails or does not answer; the message says so to people."""


class NotFound(CloudError):
    """What was asked about does not exist in the cloud."""


class NoRoom(CloudError):
    """A quota is used up, or a place is full (CSI ResourceExhausted)."""


class Later(CloudError):
    """The cloud is at it: look again in `after_s` seconds, without counting it as a failure."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Instance:
    """What a node is told of the machine it runs on (cloudprovider.InstanceMetadata)."""

    provider_id: str
    """`scheme://…`, the node's spec.providerID for ever."""
    type: str = ""
    addresses: tuple[tuple[str, str], ...] = ()
    """(type, address) as in node.status.addresses: InternalIP, ExternalIP, Hostname, InternalDNS, ExternalDNS."""
    zone: str = ""
    region: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Further labels for the node; none of kubernetes.io's and k8s.io's reserved ones."""


class Instances(Protocol):
    """Machines (cloudprovider.InstancesV2). A node is known by spec.providerID, or by its name before it has one. The
    controllers ask about many nodes at once: a provider collects such calls into few (see `batching`)."""

    async def exists(self, node: Obj) -> bool:
        """Is there such an instance, running or not? False deletes the node: CloudError when in doubt."""

    async def is_shut_down(self, node: Obj) -> bool:
        """Does the instance exist without running?"""

    async def describe(self, node: Obj) -> Instance:
        """NotFound where there is no such instance."""


@dataclass(frozen=True, slots=True)
class Ingress:
    """Where a load balancer is reached (v1.LoadBalancerIngress): an address, a host name, or both."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str = ""
    """"VIP" or "Proxy" beside an ip; "" for the API server's default."""
    ports: tuple[Mapping[str, object], ...] = ()


class LoadBalancers(Protocol):
    """Load balancers, one for a Service (cloudprovider.LoadBalancer)."""

    def name(self, service: Obj) -> str:
        """What the load balancer is called in the cloud."""

    async def get(self, service: Obj) -> tuple[Ingress, ...] | None:
        """None where there is none."""

    async def ensure(self, service: Obj, nodes: Sequence[Obj]) -> tuple[Ingress, ...]:
        """Make it, or bring it to the service's ports, source ranges and nodes."""

    async def update(self, service: Obj, nodes: Sequence[Obj]) -> None:
        """Bring an existing one to these nodes, and change nothing else."""

    async def delete(self, service: Obj) -> None:
        """With everything that was made for it; nothing to do where there is none."""


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a node's pods (cloudprovider.Route)."""

    name: str
    target_node: str
    """The node's name; "" where the cloud's route leads to no node that it knows."""
    destination: str
    """A network in CIDR notation."""
    blackhole: bool = False
    """The route leads to an instance that is gone; it is to be deleted."""


class Routes(Protocol):
    """Routes of this cluster alone (cloudprovider.Routes): others in the same table are not listed."""

    async def list(self) -> Sequence[Route]: ...

    async def create(self, hint: str, route: Route, node: Obj) -> None:
        """`hint` may become part of the name, which is the provider's to choose."""

    async def delete(self, route: Route) -> None:
        """`route` as `list` gave it."""


Segments = Mapping[str, str]
"""A place, by topology labels of nodes: {"topology.kubernetes.io/zone": "a"} (CSI Topology)."""


@dataclass(frozen=True, slots=True)
class VolumeRequest:
    """A volume to be made (CSI CreateVolumeRequest)."""

    name: str
    """The same name asks for the same volume."""
    size_bytes: int
    limit_bytes: int = 0
    """0 for no limit."""
    access_modes: tuple[str, ...] = ("ReadWriteOnce",)
    mode: str = "Filesystem"
    """"Filesystem" or "Block"."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The storage class's."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """The VolumeAttributesClass's parameters, which may change later."""
    places: tuple[Segments, ...] = ()
    """Where it may be, the best first; () for anywhere."""
    snapshot: str = ""
    """The id of the snapshot that it starts from."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """For people who look at the cloud's console: claim, namespace, volume."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that exists (CSI Volume)."""

    id: str
    size_bytes: int
    places: tuple[Segments, ...] = ()
    """Where it can be attached; () for anywhere."""
    context: Mapping[str, str] = field(default_factory=dict)
    """What the node needs to know, the PersistentVolume's csi.volumeAttributes."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    id: str
    size_bytes: int
    ready: bool


class Volumes(Protocol):
    """Disks (the controller service of CSI, https://github.com/container-storage-interface/spec)."""

    @property
    def driver(self) -> str:
        """The CSI driver's name: what storage classes, PersistentVolumes and VolumeAttachments say."""

    @property
    def topology_keys(self) -> tuple[str, ...]:
        """Labels of nodes that tell where a volume can be attached."""

    @property
    def attached_max(self) -> int:
        """Volumes that one node can hold; 0 for any number."""

    @property
    def grows_on_node(self) -> bool:
        """The node has to grow the file system after the volume (CSI NodeExpandVolume)."""

    async def create(self, request: VolumeRequest) -> Volume:
        """NoRoom where another place should be tried."""

    async def find(self, name: str) -> str | None:
        """The id of the volume that a request of this name made; None where none did."""

    async def delete(self, volume: str) -> None:
        """Nothing to do where there is none. CloudError while it is attached."""

    async def attach(self, volume: str, node: Obj, *, read_only: bool) -> Mapping[str, str]:
        """What the node needs for mounting it: the attachment's attachmentMetadata. CloudError while it is attached to
        another node and the volume can only be on one."""

    async def detach(self, volume: str, node: Obj) -> None:
        """Nothing to do where it is not attached there."""

    async def expand(self, volume: str, size_bytes: int) -> int:
        """The size after it, in bytes, never less than before."""

    async def modify(self, volume: str, attributes: Mapping[str, str]) -> None:
        """Change what a VolumeAttributesClass describes; CloudError where the cloud cannot."""

    async def snapshot(self, volume: str, name: str) -> Snapshot:
        """The same name asks for the same snapshot; CloudError where the cloud cannot."""

    async def delete_snapshot(self, snapshot: str) -> None:
        """Nothing to do where there is none."""


class Provider(Protocol):
    """A cloud, as one cluster sees it. Everything it makes carries the cluster's name, and it touches nothing else."""

    @property
    def name(self) -> str: ...

    @property
    def instances(self) -> Instances | None: ...

    @property
    def load_balancers(self) -> LoadBalancers | None: ...

    @property
    def routes(self) -> Routes | None: ...

    @property
    def volumes(self) -> Volumes | None: ...

    async def run(self) -> None:
        """What the cloud needs running beside the controllers (a proxy, a poller), until cancelled; a provider that
        needs nothing just waits."""

    async def close(self) -> None:
        """Let go of connections; called once, after everything else has ended."""
