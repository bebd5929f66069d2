"""Whether a pod fits a node: Kubernetes' documented rules, written as plainly as they read and shared with nobody.

https://kubernetes.io/docs/concepts/scheduling-eviction/ (assign-pod-node, taint-and-toleration,
topology-spread-constraints), https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pilothouse.api.types import Obj

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
_UNITS = {"m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@dataclass(slots=True)
class Picture:
    """A cluster as somebody knows it. `pods` are those that take room, by UID, with their nodes' names."""

    nodes: dict[str, Obj]
    pods: dict[str, tuple[Obj, str]]
    claims: dict[str, Obj] = field(default_factory=dict)
    volumes: dict[str, Obj] = field(default_factory=dict)
    classes: dict[str, Obj] = field(default_factory=dict)

    def placed(self) -> Iterator[tuple[Obj, Obj]]:
        """Pods with their nodes, as far as these are there."""
        for pod, name in self.pods.values():
            if name in self.nodes:
                yield pod, self.nodes[name]

    def on(self, name: str) -> list[Obj]:
        return [pod for pod, node in self.pods.values() if node == name]

    def without(self, pods: Iterable[Obj]) -> Picture:
        gone = {pod["metadata"]["uid"] for pod in pods}
        left = {uid: value for uid, value in self.pods.items() if uid not in gone}
        return Picture(self.nodes, left, self.claims, self.volumes, self.classes)


def refusal(pod: Obj, name: str, picture: Picture) -> str:
    """Why a pod does not fit a node; "" when it does."""
    node = picture.nodes.get(name)
    if node is None:
        return f"there is no node {name}"
    checks = (_resources, _ports, _selected, _taints, _spread, _company, _volumes)
    return next((why for check in checks if (why := check(pod, node, picture))), "")


def amount(text: str | int) -> float:
    """A quantity as a number."""
    text = str(text)
    for suffix in sorted(_UNITS, key=len, reverse=True):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * _UNITS[suffix]
    return float(text)


# -- the node by itself -----------------------------------------------------------------------------------


def wants(pod: Obj) -> dict[str, float]:
    """What a pod asks for: its containers together, or its largest init container if that is more."""
    total: dict[str, float] = {}
    for container in pod["spec"]["containers"]:
        for name, text in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] = total.get(name, 0.0) + amount(text)
    for container in pod["spec"].get("initContainers") or ():
        for name, text in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] = max(total.get(name, 0.0), amount(text))
    total["pods"] = 1
    return total


def _resources(pod: Obj, node: Obj, picture: Picture) -> str:
    name = node["metadata"]["name"]
    room = {k: amount(v) for k, v in ((node.get("status") or {}).get("allocatable") or {}).items()}
    used: dict[str, float] = {}
    for other in picture.on(name):
        for resource, value in wants(other).items():
            used[resource] = used.get(resource, 0.0) + value
    for resource, value in wants(pod).items():
        if value > 0 and used.get(resource, 0.0) + value > room.get(resource, 0.0) + 1e-6:
            return (
                f"{name} has {room.get(resource, 0.0):g} {resource}, {used.get(resource, 0.0):g} of it taken, "
                f"and the pod asks for {value:g}"
            )
    return ""


def _host_ports(pod: Obj) -> set[tuple[str, str, int]]:
    return {
        (port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), port["hostPort"])
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


def _ports(pod: Obj, node: Obj, picture: Picture) -> str:
    for other in picture.on(node["metadata"]["name"]):
        for ip, protocol, number in _host_ports(other):
            for ip2, protocol2, number2 in _host_ports(pod):
                same = (protocol, number) == (protocol2, number2)
                if same and (ip == ip2 or "0.0.0.0" in (ip, ip2)):
                    return f"{other['metadata']['name']} has the port {number} there"
    return ""


def _expression(expression: Obj, labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or ()
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator == "In":
        return key in labels and labels[key] in values
    assert operator == "NotIn"
    return key not in labels or labels[key] not in values


def selects(selector: Obj | None, labels: Mapping[str, str]) -> bool:
    """A label selector; None selects nothing, {} everything."""
    if selector is None:
        return False
    given = (selector.get("matchLabels") or {}).items()
    return all(labels.get(k) == v for k, v in given) and all(
        _expression(e, labels) for e in selector.get("matchExpressions") or ()
    )


def labels_of(obj: Obj) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("labels") or {}
    return found


def _terms_match(terms: Iterable[Obj], node: Obj) -> bool:
    """Any of some node selector terms; an empty one matches nothing."""
    for term in terms:
        parts = [_expression(e, labels_of(node)) for e in term.get("matchExpressions") or ()]
        fields = {"metadata.name": node["metadata"]["name"]}
        parts += [_expression(e, fields) for e in term.get("matchFields") or ()]
        if parts and all(parts):
            return True
    return False


def wanted_node(pod: Obj, node: Obj) -> bool:
    """nodeSelector and required node affinity."""
    spec = pod["spec"]
    if any(labels_of(node).get(k) != v for k, v in (spec.get("nodeSelector") or {}).items()):
        return False
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    return required is None or _terms_match(required["nodeSelectorTerms"], node)


def _selected(pod: Obj, node: Obj, picture: Picture) -> str:
    return "" if wanted_node(pod, node) else "its node affinity is for other nodes"


def _tolerates(pod: Obj, taint: Obj) -> bool:
    for toleration in pod["spec"].get("tolerations") or ():
        if toleration.get("effect") and toleration["effect"] != taint["effect"]:
            continue
        if toleration.get("key") and toleration["key"] != taint["key"]:
            continue
        if toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


def untolerated(pod: Obj, node: Obj) -> Obj | None:
    for taint in (node.get("spec") or {}).get("taints") or ():
        if taint["effect"] in ("NoSchedule", "NoExecute") and not _tolerates(pod, taint):
            found: Obj = taint
            return found
    return None


def _taints(pod: Obj, node: Obj, picture: Picture) -> str:
    taint = untolerated(pod, node)
    if taint is not None:
        return f"it does not tolerate {taint['key']}"
    cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if (node.get("spec") or {}).get("unschedulable") and not _tolerates(pod, cordon):
        return "the node is cordoned"
    return ""


# -- other pods -------------------------------------------------------------------------------------------


def _spread(pod: Obj, node: Obj, picture: Picture) -> str:
    hard = [
        c
        for c in pod["spec"].get("topologySpreadConstraints") or ()
        if c["whenUnsatisfiable"] == "DoNotSchedule"
    ]
    keys = [c["topologyKey"] for c in hard]
    for constraint in hard:
        key = constraint["topologyKey"]
        if key not in labels_of(node):
            return f"the node has no label {key}"
        counts = _counts(pod, constraint, keys, picture)
        least = min(counts.values(), default=0)
        if len(counts) < (constraint.get("minDomains") or 1):
            least = 0
        own = int(selects(constraint.get("labelSelector"), labels_of(pod)))
        here = counts.get(labels_of(node)[key], 0)
        if here + own - least > constraint["maxSkew"]:
            return f"{key}={labels_of(node)[key]} has {here} of its kind already, another {least}"
    return ""


def _counts(pod: Obj, constraint: Obj, keys: list[str], picture: Picture) -> dict[str, int]:
    key, namespace = constraint["topologyKey"], pod["metadata"]["namespace"]
    counted = {
        name: node
        for name, node in picture.nodes.items()
        if all(k in labels_of(node) for k in keys)
        and (constraint.get("nodeAffinityPolicy") == "Ignore" or wanted_node(pod, node))
        and (constraint.get("nodeTaintsPolicy") != "Honor" or untolerated(pod, node) is None)
    }
    counts = {labels_of(node)[key]: 0 for node in counted.values()}
    for other, node in picture.placed():
        meta = other["metadata"]
        if node["metadata"]["name"] not in counted or meta["namespace"] != namespace:
            continue
        if not meta.get("deletionTimestamp") and selects(constraint.get("labelSelector"), labels_of(other)):
            counts[labels_of(node)[key]] += 1
    return counts


def _terms(pod: Obj, kind: str) -> list[Obj]:
    affinity = (pod["spec"].get("affinity") or {}).get(kind) or {}
    return affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []


def _means(term: Obj, owner: Obj, other: Obj) -> bool:
    """Whether a term of `owner` is about `other`."""
    namespaces = term.get("namespaces") or ()
    if term.get("namespaceSelector") != {}:  # {} is every namespace, others are not made here
        namespaces = namespaces or (owner["metadata"]["namespace"],)
        if other["metadata"]["namespace"] not in namespaces:
            return False
    return selects(term.get("labelSelector"), labels_of(other))


def _together(term: Obj, one: Obj, other: Obj) -> bool:
    key = term["topologyKey"]
    return key in labels_of(one) and labels_of(one)[key] == labels_of(other).get(key)


def _company(pod: Obj, node: Obj, picture: Picture) -> str:
    for other, there in picture.placed():
        for term in _terms(other, "podAntiAffinity"):
            if _means(term, other, pod) and _together(term, node, there):
                return f"{other['metadata']['name']} does not want it near"
        for term in _terms(pod, "podAntiAffinity"):
            if _means(term, pod, other) and _together(term, node, there):
                return f"it does not want {other['metadata']['name']} near"
    terms = _terms(pod, "podAffinity")
    if not terms:
        return ""
    if any(term["topologyKey"] not in labels_of(node) for term in terms):
        return "the node has not all labels of its affinity to pods"
    friends = [(o, n) for o, n in picture.placed() if all(_means(t, pod, o) for t in terms)]
    if all(any(_together(t, node, there) for _, there in friends) for t in terms):
        return ""
    known = any(t["topologyKey"] in labels_of(there) for t in terms for _, there in friends)
    if not known and all(_means(t, pod, pod) for t in terms):
        return ""
    return "none of those it wants is near"


# -- volumes ----------------------------------------------------------------------------------------------


def _volumes(pod: Obj, node: Obj, picture: Picture) -> str:
    for volume in pod["spec"].get("volumes") or ():
        source = volume.get("persistentVolumeClaim")
        if source is None:
            continue
        key = f"{pod['metadata']['namespace']}/{source['claimName']}"
        claim = picture.claims.get(key)
        why = f"there is no claim {key}" if claim is None else _claim(claim, node, picture)
        if why:
            return why
    return ""


def _claim(claim: Obj, node: Obj, picture: Picture) -> str:
    name, annotations = claim["metadata"]["name"], claim["metadata"].get("annotations") or {}
    if claim["metadata"].get("deletionTimestamp"):
        return f"the claim {name} is being deleted"
    volume_name = claim["spec"].get("volumeName")
    if volume_name:
        volume = picture.volumes.get(volume_name)
        if volume is None:
            return f"the volume {volume_name} is not there"
        return "" if _reaches(volume, node) else f"the volume {volume_name} is elsewhere"
    found = picture.classes.get(claim["spec"].get("storageClassName") or "")
    if found is None or found.get("volumeBindingMode") != "WaitForFirstConsumer":
        return f"the claim {name} has no volume"
    if found["provisioner"] == NO_PROVISIONER:
        free = (v for v in picture.volumes.values() if _is_for(v, claim))
        return "" if any(_reaches(v, node) for v in free) else f"no volume for {name} is there"
    selected = annotations.get(SELECTED_NODE)
    if selected and selected != node["metadata"]["name"]:
        return f"the claim {name} is being provisioned for {selected}"
    topologies = found.get("allowedTopologies")
    if topologies and not any(
        all(labels_of(node).get(e["key"]) in e["values"] for e in each["matchLabelExpressions"])
        for each in topologies
    ):
        return f"volumes for {name} cannot be made there"
    return ""


def _reaches(volume: Obj, node: Obj) -> bool:
    required = ((volume["spec"].get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms")
    return required is None or _terms_match(required, node)


def _is_for(volume: Obj, claim: Obj) -> bool:
    """Free, or kept for this claim."""
    if volume["spec"].get("storageClassName") != claim["spec"].get("storageClassName"):
        return False
    reference = volume["spec"].get("claimRef")
    if reference is None:
        return (volume.get("status") or {}).get("phase") in ("Available", "Pending", None)
    meta = claim["metadata"]
    return (reference["namespace"], reference["name"]) == (meta["namespace"], meta["name"])
