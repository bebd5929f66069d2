"""Claims, volumes and classes for the scheduler's tests, and generated ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

from pilothouse.api import resources, volumes
from pilothouse.api.types import Obj
from pilothouse.scheduler.storage import Storage
from tests.unit.scheduler import builders as b

WAITING, IMMEDIATE, STATIC = "waiting", "immediate", "static"
"""Classes: two that make volumes, one that does not."""
CSI = "csi.example.com"


def claim(name: str, **fields: Any) -> Obj:
    """`fields`: volume, bound, storage_class, size, modes, node (the selected one), phase, going, owner, selector."""
    meta: Obj = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1"}
    annotations = {}
    if fields.get("bound"):
        annotations[volumes.BIND_COMPLETED] = "yes"
    if fields.get("node"):
        annotations[volumes.SELECTED_NODE] = fields["node"]
    if fields.get("going"):
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if fields.get("owner"):
        meta["ownerReferences"] = [{"controller": True, "uid": fields["owner"], "kind": "Pod"}]
    spec: Obj = {
        "accessModes": fields.get("modes", ["ReadWriteOnce"]),
        "resources": {"requests": {"storage": fields.get("size", "1Gi")}},
        "storageClassName": fields.get("storage_class", WAITING),
    }
    if fields.get("volume"):
        spec["volumeName"] = fields["volume"]
    if fields.get("selector"):
        spec["selector"] = fields["selector"]
    meta["annotations"] = annotations
    return {"metadata": meta, "spec": spec, "status": {"phase": fields.get("phase", "Pending")}}


def volume(name: str, **fields: Any) -> Obj:
    """`fields`: size, modes, storage_class, within (labels of its nodes), labels, claim (its name), phase, source."""
    spec: Obj = {
        "capacity": {"storage": fields.get("size", "1Gi")},
        "accessModes": fields.get("modes", ["ReadWriteOnce"]),
        "storageClassName": fields.get("storage_class", WAITING),
        **fields.get("source", {"csi": {"driver": CSI, "volumeHandle": name}}),
    }
    if fields.get("within") is not None:
        expressions = [{"key": k, "operator": "In", "values": [v]} for k, v in fields["within"].items()]
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": expressions}]}}
    if fields.get("claim"):
        spec["claimRef"] = {"namespace": "default", "name": fields["claim"], "uid": fields.get("uid", "")}
    meta = {"name": name, "uid": f"uid-{name}", "resourceVersion": "1", "labels": fields.get("labels", {})}
    return {"metadata": meta, "spec": spec, "status": {"phase": fields.get("phase", "Available")}}


def storage_class(
    name: str, provisioner: str = CSI, mode: str = "WaitForFirstConsumer", topologies: Any = None
) -> Obj:
    made: Obj = {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode}
    if topologies:
        made["allowedTopologies"] = topologies
    return made


def topology(key: str, *values: str) -> Obj:
    return {"matchLabelExpressions": [{"key": key, "values": list(values)}]}


def csi_node(name: str, limits: Mapping[str, int] | None = None, migrated: str = "") -> Obj:
    drivers = [{"name": driver, "allocatable": {"count": n}} for driver, n in (limits or {}).items()]
    annotations = {"storage.alpha.kubernetes.io/migrated-plugins": migrated} if migrated else {}
    return {"metadata": {"name": name, "annotations": annotations}, "spec": {"drivers": drivers}}


def driver(name: str, *, capacity: bool = False, needed: bool = False) -> Obj:
    """`needed`: its volumes go to nodes that have it."""
    spec = {"storageCapacity": capacity, "preventPodSchedulingIfMissing": needed}
    return {"metadata": {"name": name}, "spec": spec}


def attachment(volume: str, node: str, driver: str = CSI) -> Obj:
    spec = {"attacher": driver, "nodeName": node, "source": {"persistentVolumeName": volume}}
    return {"metadata": {"name": f"{volume}-on-{node}"}, "spec": spec}


def pool(name: str, capacity: str, nodes: Obj | None, storage_class: str = WAITING) -> Obj:
    return {
        "metadata": {"name": name, "namespace": "kube-system"},
        "storageClassName": storage_class,
        "capacity": capacity,
        "nodeTopology": nodes,
    }


CLASSES = (
    storage_class(WAITING),
    storage_class(IMMEDIATE, mode="Immediate"),
    storage_class(STATIC, volumes.NO_PROVISIONER),
)


def storage(
    claims: Iterable[Obj] = (),
    volumes: Iterable[Obj] = (),
    classes: Iterable[Obj] = CLASSES,
    csi_nodes: Iterable[Obj] = (),
    drivers: Iterable[Obj] = (),
    pools: Iterable[Obj] = (),
) -> Storage:
    made = Storage()
    for resource, objects in (
        (resources.PERSISTENT_VOLUME_CLAIMS, claims),
        (resources.PERSISTENT_VOLUMES, volumes),
        (resources.STORAGE_CLASSES, classes),
        (resources.CSI_NODES, csi_nodes),
        (resources.CSI_DRIVERS, drivers),
        (resources.CSI_STORAGE_CAPACITIES, pools),
    ):
        for obj in objects:
            made.put(resource, obj)
    return made


def mounting(*claims: str, **fields: Any) -> Obj:
    """A pod with these claims."""
    named = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    return b.pod(volumes=named, **fields)


# -- generated --------------------------------------------------------------------------------------------

_SIZES = st.sampled_from(("1Gi", "2Gi", "3Gi"))
_PLACES = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from(("zone", "disk")), st.sampled_from(("a", "b")), min_size=1),
)
_NAMES = ("c0", "c1", "c2")
_MODES = (["ReadWriteOnce"], ["ReadWriteOnce"], ["ReadWriteOnce", "ReadOnlyMany"], ["ReadOnlyMany"])


@st.composite
def disks(draw: st.DrawFn) -> list[Obj]:
    """Volumes: free ones, ones of a claim, ones that another claim has."""
    made = []
    for number in range(draw(st.integers(0, 5))):
        owner = draw(st.sampled_from(("", "", "", *_NAMES, "another")))
        made.append(
            volume(
                f"v{number}",
                size=draw(_SIZES),
                within=draw(_PLACES),
                storage_class=draw(st.sampled_from((WAITING, STATIC))),
                labels=draw(st.dictionaries(st.just("kind"), st.sampled_from(("fast", "slow")))),
                claim=owner,
                uid=draw(st.sampled_from(("", f"uid-{owner}"))),
                phase=draw(st.sampled_from(("Available", "Available", "Bound"))),
                modes=draw(st.sampled_from(_MODES)),
            )
        )
    return made


@st.composite
def wishes(draw: st.DrawFn) -> list[Obj]:
    """Claims: some bound (perhaps to a volume that is not there), some waiting."""
    made = []
    for name in _NAMES[: draw(st.integers(1, 3))]:
        if draw(st.booleans()):
            number = draw(st.integers(0, 5))
            made.append(claim(name, bound=True, volume=f"v{number}", phase="Bound"))
            continue
        made.append(
            claim(
                name,
                size=draw(_SIZES),
                storage_class=draw(st.sampled_from((WAITING, WAITING, STATIC))),
                node=draw(st.sampled_from(("", "", "", "n0", "n1", "n9"))),
                selector=draw(st.sampled_from((None, None, {"matchLabels": {"kind": "fast"}}))),
                modes=draw(st.sampled_from(_MODES)),
            )
        )
    return made


@st.composite
def pools(draw: st.DrawFn) -> list[Obj]:
    made = []
    for number in range(draw(st.integers(0, 3))):
        nodes = draw(
            st.sampled_from((None, {}, {"matchLabels": {"zone": "a"}}, {"matchLabels": {"disk": "b"}}))
        )
        made.append(pool(f"p{number}", draw(_SIZES), nodes))
    return made


@st.composite
def stores(draw: st.DrawFn) -> tuple[Storage, list[str]]:
    """Storage, and the names of the claims in it."""
    claims = draw(wishes())
    topologies = draw(st.sampled_from((None, [topology("zone", "a", "b")], [topology("disk", "b")])))
    classes = [storage_class(WAITING, topologies=topologies), storage_class(STATIC, volumes.NO_PROVISIONER)]
    drivers = [driver(CSI, capacity=draw(st.booleans()))]
    made = storage(claims, draw(disks()), classes, (), drivers, draw(pools()))
    return made, [c["metadata"]["name"] for c in claims]


@st.composite
def labelled_nodes(draw: st.DrawFn) -> list[Obj]:
    keys = ("zone", "disk", "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
    values = st.sampled_from(("a", "b", "c"))
    labels = st.dictionaries(st.sampled_from(keys), values)
    return [b.node(f"n{number}", labels=draw(labels)) for number in range(draw(st.integers(1, 5)))]
