"""Which objects have to do with which node (plugin/pkg/auth/authorizer/node/graph.go).

    node ◀── pod ◀── secret, config map, service account, resource claim
                 ◀── volume claim ◀── volume ◀── the volume's secrets
    node ◀── volume attachment, resource slice, pod certificate request

The graph is brought up to date when somebody asks, from what the watch cache says happened since: a cluster without
kubelets of its own does not pay for it. It is never behind what this server has seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from pilothouse.api import resource_claims, volumes
from pilothouse.api.pod_references import config_map_names, secret_names
from pilothouse.api.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_CERTIFICATE_REQUESTS,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
    SECRETS,
    SERVICE_ACCOUNTS,
    Resource,
)
from pilothouse.api.types import Obj

VOLUME_ATTACHMENTS = Resource("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", False)
_MIRROR = "kubernetes.io/config.mirror"


class Vertex(NamedTuple):
    plural: str
    namespace: str
    name: str


class Read(NamedTuple):
    revision: int
    obj: Obj


class History(Protocol):
    """What the watch cache knows of a resource. Keys are the stored objects'."""

    def revision(self, resource: Resource) -> int: ...

    def changed(self, resource: Resource, after: int) -> Keys | None:
        """What changed after a revision; None when that is not known any more."""

    def revisions(self, resource: Resource) -> dict[bytes, int]:
        """Of every object there is."""

    def read(self, resource: Resource, key: bytes) -> Read | None:
        """An object as it is now, the caller's own; None when it is gone."""


Keys = list[bytes]


class Uses:
    """How often each object is used on each node; who uses it says so under a key of its own."""

    def __init__(self) -> None:
        self._said: dict[bytes, tuple[str, frozenset[Vertex]]] = {}
        self._nodes: defaultdict[Vertex, dict[str, int]] = defaultdict(dict)

    def put(self, key: bytes, node: str, used: frozenset[Vertex]) -> None:
        """In place of what was said before; "" for no node takes it back."""
        if self._said.get(key) == (node, used):
            return
        before = self._said.pop(key, None)
        if before is not None:
            self._take_back(*before)
        if node:
            self._said[key] = (node, used)
            for vertex in used:
                nodes = self._nodes[vertex]
                nodes[node] = nodes.get(node, 0) + 1

    def _take_back(self, node: str, used: frozenset[Vertex]) -> None:
        for vertex in used:
            nodes = self._nodes[vertex]
            nodes[node] -= 1
            if not nodes[node]:
                del nodes[node]
            if not nodes:
                del self._nodes[vertex]

    def has(self, vertex: Vertex, node: str) -> bool:
        return node in self._nodes.get(vertex, ())


class Volumes:
    """The claim that each volume is for, and the volumes that name each secret."""

    def __init__(self) -> None:
        self._claims: dict[Vertex, Vertex] = {}
        self._secrets: dict[bytes, tuple[Vertex, frozenset[Vertex]]] = {}
        self._by_secret: dict[Vertex, set[Vertex]] = {}

    def put(self, key: bytes, volume: Obj | None) -> None:
        before = self._secrets.pop(key, None)
        if before is not None:
            self._claims.pop(before[0], None)
            for secret in before[1]:
                self._by_secret[secret].discard(before[0])
        claim = (volume or {}).get("spec", {}).get("claimRef")
        if volume is None or not claim:
            return
        vertex = Vertex(PERSISTENT_VOLUMES.plural, "", volume["metadata"]["name"])
        secrets = frozenset(volume_secrets(volume))
        self._secrets[key] = (vertex, secrets)
        namespace, name = claim.get("namespace", ""), claim.get("name", "")
        self._claims[vertex] = Vertex(PERSISTENT_VOLUME_CLAIMS.plural, namespace, name)
        for secret in secrets:
            self._by_secret.setdefault(secret, set()).add(vertex)

    def claims_of(self, vertex: Vertex) -> Iterator[Vertex]:
        """The claims through which a volume or a secret is used."""
        if vertex in self._claims:
            yield self._claims[vertex]
        for volume in self._by_secret.get(vertex, ()):
            yield self._claims[volume]


class NodeGraph:
    def __init__(self, history: History) -> None:
        self._history = history
        self._known: dict[Resource, int] = {}
        self._read: dict[Resource, dict[bytes, int]] = {resource: {} for resource in _SOURCES}
        """At which revision each object was read."""
        self._uses = Uses()
        self._volumes = Volumes()

    def relates(self, vertex: Vertex, node: str) -> bool:
        """Whether a path leads from an object to a node."""
        self._catch_up()
        if self._uses.has(vertex, node):
            return True
        return any(self._uses.has(claim, node) for claim in self._volumes.claims_of(vertex))

    def _catch_up(self) -> None:
        for resource in _SOURCES:
            revision = self._history.revision(resource)
            known = self._known.get(resource)
            if known == revision:
                continue
            keys = self._history.changed(resource, known) if known is not None else None
            for key in self._compared(resource) if keys is None else keys:
                self._look(resource, key)
            self._known[resource] = revision

    def _compared(self, resource: Resource) -> Keys:
        """What is new, other or gone: only that is read again."""
        read, present = self._read[resource], self._history.revisions(resource)
        other = [key for key, revision in present.items() if read.get(key) != revision]
        return [*other, *(key for key in read if key not in present)]

    def _look(self, resource: Resource, key: bytes) -> None:
        found = self._history.read(resource, key)
        obj = found.obj if found is not None else None
        if found is not None:
            self._read[resource][key] = found.revision
        else:
            self._read[resource].pop(key, None)
        if resource == PERSISTENT_VOLUMES:
            self._volumes.put(key, obj)
        else:
            self._uses.put(key, *(_uses_of(resource, obj) if obj is not None else _NO_USE))


_NO_USE: tuple[str, frozenset[Vertex]] = ("", frozenset())
_SOURCES = (PODS, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS, RESOURCE_SLICES, POD_CERTIFICATE_REQUESTS)


def _uses_of(resource: Resource, obj: Obj) -> tuple[str, frozenset[Vertex]]:
    """The node that an object is for, and what the node may see for it."""
    meta = obj["metadata"]
    own = Vertex(resource.plural, meta.get("namespace", ""), meta["name"])
    node = str((obj.get("spec") or {}).get("nodeName") or "")
    if resource != PODS or _MIRROR in (meta.get("annotations") or {}):
        # A mirror pod is the node's own word: it must not open anything to it.
        return node, frozenset((own,))
    return node, frozenset((own, *_of_pod(obj)))


def _of_pod(pod: Obj) -> Iterator[Vertex]:
    namespace = pod["metadata"]["namespace"]
    for resource, names in (
        (SECRETS, secret_names(pod)),
        (CONFIG_MAPS, config_map_names(pod)),
        (SERVICE_ACCOUNTS, {pod["spec"].get("serviceAccountName")}),
        (PERSISTENT_VOLUME_CLAIMS, {name for name, _ in volumes.claim_names(pod)}),
        (RESOURCE_CLAIMS, set(_resource_claims(pod))),
    ):
        for name in names:
            if name:
                yield Vertex(resource.plural, namespace, name)


def _resource_claims(pod: Obj) -> Iterator[str]:
    for entry in pod["spec"].get("resourceClaims") or ():
        try:
            yield resource_claims.name_of(pod, entry)[0]
        except resource_claims.ClaimError:
            continue  # not made yet: the pod will say its name
    extended = (pod.get("status") or {}).get("extendedResourceClaimStatus") or {}
    yield extended.get("resourceClaimName", "")


_ONE_SECRET = ("cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos")
_OF_NODES = ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef")
"""A CSI volume's other secrets are its controller's (pkg/api/v1/persistentvolume VisitPVSecretNames)."""


def volume_secrets(volume: Obj) -> Iterator[Vertex]:
    """The secrets that a kubelet needs for a volume; those without a namespace are in the claim's."""
    spec = volume["spec"]
    at_home = (spec.get("claimRef") or {}).get("namespace", "")
    azure = spec.get("azureFile") or {}
    refs: list[Obj] = [{"name": azure.get("secretName"), "namespace": azure.get("secretNamespace")}]
    refs += [(spec.get(source) or {}).get("secretRef") or {} for source in _ONE_SECRET]
    refs += _csi_refs(spec.get("csi") or {})
    for ref in refs:
        if ref.get("name"):
            yield Vertex(SECRETS.plural, ref.get("namespace") or at_home, ref["name"])


def _csi_refs(csi: Obj) -> Iterable[Obj]:
    return [csi.get(name) or {} for name in _OF_NODES]
