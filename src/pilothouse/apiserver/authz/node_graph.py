"""Which objects have to do with which node (plugin/pkg/auth/authorizer/node/graph.go).

    node ◀── pod ◀── secret, config map, service account, resource claim
                 ◀── volume claim ◀── volume ◀── the volume's secrets
    node ◀── volume attachment, resource slice, pod certificate request

The graph is brought up to date when somebody asks, from what the watch cache says happened since: a cluster without
kubelets of its own does not pay for it. It is never behind what this server has seen.
"""

from __future__ import annotations

from collections import Counter
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


class State(NamedTuple):
    """An object as it is now, by its key; None when it is gone."""

    key: bytes
    obj: Obj | None


States = list[State]


class History(Protocol):
    """What the watch cache knows of a resource."""

    def revision(self, resource: Resource) -> int: ...

    def changes(self, resource: Resource, after: int) -> States | None:
        """What changed after a revision; None when that is not known any more."""

    def everything(self, resource: Resource) -> States: ...


class Uses:
    """How often each object is used on each node; who uses it says so under a key of its own."""

    def __init__(self) -> None:
        self._said: dict[bytes, tuple[str, frozenset[Vertex]]] = {}
        self._nodes: dict[Vertex, Counter[str]] = {}

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
                self._nodes.setdefault(vertex, Counter())[node] += 1

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
        self._keys: dict[Resource, set[bytes]] = {}
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
            states = self._history.changes(resource, known) if known is not None else None
            if states is None:
                states = self._anew(resource)
            for state in states:
                self._put(resource, state)
            self._known[resource] = revision

    def _anew(self, resource: Resource) -> States:
        """Everything there is, and what was there and is gone."""
        present = self._history.everything(resource)
        gone = self._keys.get(resource, set()) - {state.key for state in present}
        return [*present, *(State(key, None) for key in gone)]

    def _put(self, resource: Resource, state: State) -> None:
        keys = self._keys.setdefault(resource, set())
        if state.obj is None:
            keys.discard(state.key)
        else:
            keys.add(state.key)
        if resource == PERSISTENT_VOLUMES:
            self._volumes.put(state.key, state.obj)
            return
        node, used = _uses_of(resource, state.obj) if state.obj is not None else ("", frozenset())
        self._uses.put(state.key, node, used)


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
