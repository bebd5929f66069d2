"""Random nodes, pods, claims and budgets, small enough that they get in each other's way."""

from __future__ import annotations

import random
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.scheduler.gangs import MINIMUM_LABEL, NAME_LABEL

ZONES = ("east", "west", "north")
ZONE, HOST, DISK = "topology.kubernetes.io/zone", "kubernetes.io/hostname", "disk"
APPS = ("web", "db", "job")
GPU = "example.com/gpu"
PROVISIONED, EAST_ONLY, LOCAL = "provisioned", "east-only", "local"
NAMESPACES = ("default", "team")
PRIORITIES = {"low": -10, "middle": 100, "high": 1000, "polite": 500}
"""`polite` ones never preempt."""
SCHEDULERS = ("default-scheduler", "second")


def classes() -> list[Obj]:
    late = {"provisioner": "csi.example.com", "volumeBindingMode": "WaitForFirstConsumer"}
    east = [{"matchLabelExpressions": [{"key": ZONE, "values": ["east"]}]}]
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass"}
    return [
        {**kind, "metadata": {"name": PROVISIONED}, **late},
        {**kind, "metadata": {"name": EAST_ONLY}, **late, "allowedTopologies": east},
        {**kind, "metadata": {"name": LOCAL}, **late, "provisioner": "kubernetes.io/no-provisioner"},
    ]


def priorities() -> list[Obj]:
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "preemptionPolicy": "Never" if name == "polite" else "PreemptLowerPriority",
        }
        for name, value in PRIORITIES.items()
    ]


def within(zone: str) -> Obj:
    """A volume's node affinity."""
    terms = [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}]
    return {"required": {"nodeSelectorTerms": terms}}


def volume(name: str, zone: str, storage_class: str, claim: Obj | None = None) -> Obj:
    """`zone` "": it can be reached from everywhere."""
    spec: Obj = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "csi": {"driver": "csi.example.com", "volumeHandle": name},
    }
    if zone:
        spec["nodeAffinity"] = within(zone)
    if claim is not None:
        meta = claim["metadata"]
        spec["claimRef"] = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def claim(name: str, storage_class: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": storage_class,
        },
    }


def node(name: str, chance: random.Random) -> Obj:
    labels = {HOST: name, ZONE: chance.choice(ZONES)}
    if chance.random() < 0.5:
        labels[DISK] = chance.choice(("ssd", "hdd"))
    if chance.random() < 0.1:
        del labels[ZONE]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def room(chance: random.Random) -> Obj:
    """A node's capacity."""
    found = {
        "cpu": str(chance.randint(2, 6)),
        "memory": f"{chance.choice((2, 4, 8))}Gi",
        "pods": str(chance.choice((4, 8, 20))),
    }
    if chance.random() < 0.3:
        found[GPU] = str(chance.randint(1, 2))
    return found


def images(chance: random.Random) -> list[Obj]:
    return [{"names": [f"registry/{app}:1"], "sizeBytes": 300_000_000} for app in chance.sample(APPS, 2)]


def taint(chance: random.Random) -> Obj:
    effect = chance.choice(("NoSchedule", "NoSchedule", "PreferNoSchedule"))
    return {"key": chance.choice(("dedicated", "flaky")), "value": "yes", "effect": effect}


def budget(name: str, app: str) -> Obj:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": app}}},
    }


# -- pods -------------------------------------------------------------------------------------------------


def pod(name: str, chance: random.Random, schedulers: int = 1) -> Obj:
    """A pod with up to three wishes."""
    app = chance.choice(APPS)
    requests = {"cpu": f"{chance.choice((100, 500, 1000, 1500, 2500))}m"}
    if chance.random() < 0.5:
        requests["memory"] = f"{chance.choice((128, 512, 1500))}Mi"
    container: Obj = {"name": "c", "image": f"registry/{app}:1", "resources": {"requests": requests}}
    spec: Obj = {"containers": [container], "schedulerName": SCHEDULERS[chance.randrange(schedulers)]}
    if chance.random() < 0.6:
        spec["priorityClassName"] = chance.choice(("low", "low", "middle", "high", "polite"))
    made: Obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": spec,
    }
    for wish in chance.sample(_WISHES, chance.choice((0, 1, 1, 2, 3))):
        wish(made, chance)
    return made


def member(name: str, group: str, like: Obj) -> Obj:
    """One of a gang, all of which are alike. `like` has what they ask for, and who schedules them."""
    spec: Obj = {
        "containers": [
            {"name": "c", "image": "registry/job:1", "resources": {"requests": {"cpu": like["cpu"]}}}
        ],
        "schedulerName": like["scheduler"],
        **({"nodeSelector": {DISK: like["disk"]}} if like["disk"] else {}),
        **({"priorityClassName": like["priority"]} if like["priority"] else {}),
    }
    labels = {"app": "gang"}
    if like["by_label"]:
        labels |= {NAME_LABEL: group, MINIMUM_LABEL: str(like["minimum"])}
    else:
        spec["schedulingGroup"] = {"podGroupName": group}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def _gpu(made: Obj, chance: random.Random) -> None:
    resources = made["spec"]["containers"][0]["resources"]
    resources["requests"][GPU] = "1"
    resources["limits"] = {GPU: "1"}


def _port(made: Obj, chance: random.Random) -> None:
    port = {"containerPort": 80, "hostPort": chance.choice((8080, 8081))}
    if chance.random() < 0.3:
        port["hostIP"] = chance.choice(("127.0.0.1", "10.0.0.1"))
    if chance.random() < 0.2:
        port["protocol"] = "UDP"
    made["spec"]["containers"][0]["ports"] = [port]


def _selector(made: Obj, chance: random.Random) -> None:
    made["spec"]["nodeSelector"] = {ZONE: chance.choice(ZONES)}


def _affinity(made: Obj) -> Obj:
    found: Obj = made["spec"].setdefault("affinity", {})
    return found


def _node_affinity(made: Obj, chance: random.Random) -> None:
    terms = [
        {"matchExpressions": [{"key": DISK, "operator": "In", "values": ["ssd"]}]},
        {"matchExpressions": [{"key": DISK, "operator": "DoesNotExist"}]},
        {"matchExpressions": [{"key": ZONE, "operator": "NotIn", "values": ["east"]}]},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
    ]
    chosen = chance.sample(terms, chance.choice((1, 2)))
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    _affinity(made)["nodeAffinity"] = {required: {"nodeSelectorTerms": chosen}}


def _term(chance: random.Random) -> Obj:
    operator = chance.choice(("In", "In", "NotIn"))
    term: Obj = {
        "labelSelector": {
            "matchExpressions": [{"key": "app", "operator": operator, "values": [chance.choice(APPS)]}]
        },
        "topologyKey": chance.choice((HOST, ZONE)),
    }
    wide = chance.random()
    if wide < 0.15:
        term["namespaceSelector"] = {}
    elif wide < 0.3:
        term["namespaces"] = ["team"]
    return term


def _near(made: Obj, chance: random.Random) -> None:
    _affinity(made)["podAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [_term(chance)]}


def _apart(made: Obj, chance: random.Random) -> None:
    terms = [_term(chance) for _ in range(chance.choice((1, 1, 2)))]
    _affinity(made)["podAntiAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": terms}


def _spread(made: Obj, chance: random.Random) -> None:
    constraint: Obj = {
        "maxSkew": chance.choice((1, 2)),
        "topologyKey": chance.choice((ZONE, HOST)),
        "whenUnsatisfiable": chance.choice(("DoNotSchedule", "DoNotSchedule", "ScheduleAnyway")),
        "labelSelector": {"matchLabels": {"app": made["metadata"]["labels"]["app"]}},
    }
    if constraint["whenUnsatisfiable"] == "DoNotSchedule" and chance.random() < 0.3:
        constraint["minDomains"] = chance.choice((2, 3))
    if chance.random() < 0.3:
        constraint["nodeTaintsPolicy"] = "Honor"
    if chance.random() < 0.2:
        constraint["nodeAffinityPolicy"] = "Ignore"
    made["spec"]["topologySpreadConstraints"] = [constraint]


def _tolerant(made: Obj, chance: random.Random) -> None:
    made["spec"]["tolerations"] = [
        {"key": "dedicated", "operator": "Exists"},
        *([{"key": "flaky", "operator": "Equal", "value": "yes"}] if chance.random() < 0.5 else []),
    ]


def _gated(made: Obj, chance: random.Random) -> None:
    made["spec"]["schedulingGates"] = [{"name": "example.com/later"}]


def _init(made: Obj, chance: random.Random) -> None:
    big = {"requests": {"cpu": "2"}}
    made["spec"]["initContainers"] = [{"name": "i", "image": "registry/web:1", "resources": big}]


def _volume(made: Obj, chance: random.Random) -> None:
    """Its claim is made by `churn`, before or after it."""
    name = f"{made['metadata']['name']}-data"
    made["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]


def _deadline(made: Obj, chance: random.Random) -> None:
    """Nobody is more important than they are, so that nobody would have to spare them."""
    made["spec"]["priorityClassName"] = "high"
    made["metadata"]["annotations"] = {
        "scheduling.pilothouse.dev/deadline": chance.choice(("2026-01-01T00:01:00Z", "2026-01-01T09:00:00Z")),
        "scheduling.pilothouse.dev/runs-for": "30s",
    }


_WISHES: tuple[Any, ...] = (
    _gpu,
    _port,
    _selector,
    _node_affinity,
    _near,
    _apart,
    _spread,
    _tolerant,
    _gated,
    _init,
    _volume,
    _volume,
    _deadline,
)
