"""Nodes, pods and node tables for the scheduler's tests: the fewest fields that make a point, and generated
clusters for the tests that hold a columnar rule to its plain one."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from hypothesis import strategies as st

from pilothouse.api.labels import EVERYTHING, Requirement, Selector
from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import Cycle
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.plugins import registry
from pilothouse.scheduler.pod_info import PodInfo, pod_info
from pilothouse.scheduler.profile import Profile

_uids = count(1)
ROOM = {"cpu": "4", "memory": "8Gi", "pods": "110"}


def node(name: str, allocatable: dict[str, str] | None = None, **fields: Any) -> Obj:
    """`fields`: labels, taints, unschedulable."""
    spec = {k: fields[k] for k in ("taints", "unschedulable") if k in fields}
    return {
        "metadata": {"name": name, "labels": fields.get("labels", {})},
        "spec": spec,
        "status": {"allocatable": ROOM if allocatable is None else allocatable},
    }


def pod(name: str = "", requests: dict[str, str] | None = None, **fields: Any) -> Obj:
    """`fields`: on (the node), priority, ports (host ports), labels, status, and any field of the spec."""
    number = next(_uids)
    container: Obj = {"name": "c", "resources": {"requests": requests or {}}}
    container["ports"] = [{"hostPort": p, "protocol": "TCP"} for p in fields.pop("ports", ())]
    meta = {
        "name": name or f"pod-{number}",
        "namespace": fields.pop("namespace", "default"),
        "uid": f"uid-{number}",
    }
    meta["labels"] = fields.pop("labels", {})
    status = fields.pop("status", {})
    spec: Obj = {"containers": [container], "schedulerName": "default-scheduler"}
    on = fields.pop("on", "")
    if on:
        spec["nodeName"] = on
    return {"metadata": meta, "spec": {**spec, **fields}, "status": status}


def table(nodes: Iterable[Obj], pods: Iterable[Obj] = ()) -> NodeTable:
    made = NodeTable()
    for each in nodes:
        made.put_node(each)
    for each in pods:
        made.put_pod(pod_info(each))
    return made


def profile(*more: Any) -> Profile:
    """The rules that need no server."""
    return Profile([*registry.rules(namespaces, default_group), *more], registry.WEIGHTS)


def default_group(info: PodInfo) -> Selector:
    """No service, no owner."""
    return EVERYTHING


def group_of_app(info: PodInfo) -> Selector:
    """As if a service selected pods by their label app."""
    return Selector((Requirement("app", "=", (info.pod["metadata"]["labels"]["app"],)),))


def namespaces(selector: Selector) -> frozenset[str]:
    """Three namespaces, each with its name and whether it is for production."""
    made = {"default": "no", "shop": "yes", "bank": "yes"}
    return frozenset(
        name for name, live in made.items() if selector.matches({"name": name, "production": live})
    )


def cycle(
    of: Obj | PodInfo, on: NodeTable, *, guests: Sequence[PodInfo] = (), using: Profile | None = None
) -> Cycle:
    info = of if isinstance(of, PodInfo) else pod_info(of)
    return Cycle(info, using or profile(), on, random.Random(1), guests)


# -- generated clusters -----------------------------------------------------------------------------------

KEYS = ("zone", "disk", "size")
VALUES = ("a", "b", "3", "12", "-1")
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES))
effects = st.sampled_from(("NoSchedule", "NoExecute", "PreferNoSchedule"))
taints = st.lists(
    st.fixed_dictionaries(
        {"key": st.sampled_from(("k", "l")), "effect": effects}, optional={"value": st.sampled_from("xy")}
    ),
    max_size=3,
)
tolerations = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"operator": st.just("Exists")}, optional={"effect": effects, "key": st.sampled_from(("k", "l"))}
        ),
        st.fixed_dictionaries(
            {"key": st.sampled_from(("k", "l"))}, optional={"effect": effects, "value": st.sampled_from("xy")}
        ),
    ),
    max_size=3,
)
amounts = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from(("0", "1m", "333m", "1", "3")),
        "memory": st.sampled_from(("0", "1", "100Mi", "3Gi")),
        "example.com/gpu": st.sampled_from(("0", "1", "2")),
    },
)
rooms = st.fixed_dictionaries(
    {"pods": st.sampled_from(("1", "3", "110"))},
    optional={
        "cpu": st.sampled_from(("0", "1", "3", "7")),
        "memory": st.sampled_from(("100Mi", "7Gi")),
        "example.com/gpu": st.sampled_from(("1", "4")),
    },
)
requirements = st.one_of(
    st.builds(
        lambda key, operator, values: {"key": key, "operator": operator, "values": values},
        st.sampled_from(KEYS),
        st.sampled_from(("In", "NotIn")),
        st.lists(st.sampled_from(VALUES), min_size=1, max_size=2),
    ),
    st.builds(
        lambda key, operator: {"key": key, "operator": operator},
        st.sampled_from(KEYS),
        st.sampled_from(("Exists", "DoesNotExist")),
    ),
    st.builds(
        lambda key, operator, value: {"key": key, "operator": operator, "values": [value]},
        st.sampled_from(KEYS),
        st.sampled_from(("Gt", "Lt")),
        st.sampled_from(("0", "5", "x")),
    ),
)
terms = st.fixed_dictionaries({}, optional={"matchExpressions": st.lists(requirements, max_size=2)})
node_affinities = st.fixed_dictionaries(
    {},
    optional={
        "requiredDuringSchedulingIgnoredDuringExecution": st.fixed_dictionaries(
            {"nodeSelectorTerms": st.lists(terms, min_size=1, max_size=2)}
        ),
        "preferredDuringSchedulingIgnoredDuringExecution": st.lists(
            st.fixed_dictionaries({"weight": st.integers(1, 100), "preference": terms}), max_size=3
        ),
    },
)


@st.composite
def nodes(draw: st.DrawFn) -> list[Obj]:
    made = []
    for number in range(draw(st.integers(1, 6))):
        made.append(
            node(
                f"n{number}",
                draw(rooms),
                labels=draw(labels),
                taints=draw(taints),
                unschedulable=draw(st.booleans()),
            )
        )
    return made


@st.composite
def new_pods(draw: st.DrawFn) -> Obj:
    return pod(
        requests=draw(amounts),
        ports=draw(st.lists(st.sampled_from((80, 443)), max_size=2, unique=True)),
        tolerations=draw(tolerations),
        nodeSelector=draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=1)),
        affinity={"nodeAffinity": draw(node_affinities)},
    )


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Obj], list[Obj]]:
    """Nodes, and pods on them."""
    made = draw(nodes())
    there = []
    for each in made:
        for _ in range(draw(st.integers(0, 3))):
            there.append(
                pod(
                    requests=draw(amounts),
                    ports=draw(st.lists(st.sampled_from((80, 443)), max_size=1)),
                    on=each["metadata"]["name"],
                )
            )
    return made, there
