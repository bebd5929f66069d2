"""Which events bring which waiting pods back: KEP-4247, and the EventsToRegister of each plugin."""

from __future__ import annotations

import pytest

from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import Plugin
from pilothouse.scheduler.hints import ASSIGNED_POD, NODE, UNSCHEDULED_POD, Action, Event, node_changes
from pilothouse.scheduler.plugins.node_affinity import NodeAffinity
from pilothouse.scheduler.plugins.node_ports import NodePorts
from pilothouse.scheduler.plugins.node_resources_fit import NodeResourcesFit
from pilothouse.scheduler.plugins.node_unschedulable import NodeUnschedulable
from pilothouse.scheduler.plugins.taint_toleration import TaintToleration
from pilothouse.scheduler.pod_info import pod_info
from tests.unit.scheduler import builders as b

WEB = b.pod("web", {"cpu": "2"}, nodeSelector={"zone": "a"}, ports=[80])
TAINT = {"key": "k", "effect": "NoSchedule"}
SMALL = {"cpu": "1", "memory": "1Gi", "pods": "9"}


def _node(old: Obj | None, new: Obj | None) -> Event:
    action = Action.ADD if old is None else Action.DELETE if new is None else node_changes(old, new)
    return Event(NODE, action, old, new)


def _gone(pod: Obj) -> Event:
    return Event(ASSIGNED_POD, Action.DELETE, pod)


CASES: list[tuple[Plugin, str, Event, bool]] = [
    (NodeResourcesFit(), "a node that is large enough", _node(None, b.node("n")), True),
    (NodeResourcesFit(), "a node that is too small", _node(None, b.node("n", SMALL)), False),
    (NodeResourcesFit(), "a node that has grown", _node(b.node("n", SMALL), b.node("n")), True),
    (
        NodeResourcesFit(),
        "a node that has grown in what the pod does not ask for",
        _node(b.node("n"), b.node("n", {**b.ROOM, "example.com/gpu": "1"})),
        False,
    ),
    (NodeResourcesFit(), "a node's label", _node(b.node("n"), b.node("n", labels={"x": "y"})), False),
    (NodeResourcesFit(), "a pod that ended", _gone(b.pod(on="n")), True),
    (NodeAffinity(), "a node with the label", _node(None, b.node("n", labels={"zone": "a"})), True),
    (NodeAffinity(), "a node with another label", _node(None, b.node("n", labels={"zone": "b"})), False),
    (
        NodeAffinity(),
        "a node that gets the label",
        _node(b.node("n"), b.node("n", labels={"zone": "a"})),
        True,
    ),
    (
        NodeAffinity(),
        "a node that had the label already",
        _node(b.node("n", labels={"zone": "a"}), b.node("n", labels={"zone": "a", "x": "y"})),
        False,
    ),
    (TaintToleration(), "a node that loses its taint", _node(b.node("n", taints=[TAINT]), b.node("n")), True),
    (TaintToleration(), "a node that keeps a taint", _node(None, b.node("n", taints=[TAINT])), False),
    (
        NodeUnschedulable(),
        "an uncordoned node",
        _node(b.node("n", unschedulable=True), b.node("n")),
        True,
    ),
    (NodeUnschedulable(), "a cordoned node", _node(None, b.node("n", unschedulable=True)), False),
    (NodePorts(), "a pod that frees the port", _gone(b.pod(ports=[80], on="n")), True),
    (NodePorts(), "a pod that frees another port", _gone(b.pod(ports=[81], on="n")), False),
]


@pytest.mark.parametrize(
    ("plugin", "what", "event", "helps"), CASES, ids=lambda x: x if isinstance(x, str) else ""
)
def test_an_event_helps_a_pod_that_a_plugin_refused(
    plugin: Plugin, what: str, event: Event, helps: bool
) -> None:
    assert any(r.wakes(pod_info(WEB), event) for r in plugin.registrations()) is helps


def test_what_happens_to_another_waiting_pod_is_none_of_this_ones() -> None:
    other = b.pod("other", {"cpu": "3"})
    smaller = {**other, "spec": b.pod("other", {"cpu": "1"})["spec"]}
    event = Event(UNSCHEDULED_POD, Action.UPDATE_POD_SCALE_DOWN, other, smaller)
    assert not any(r.wakes(pod_info(WEB), event) for r in NodeResourcesFit().registrations())
    assert any(r.wakes(pod_info(smaller), event) for r in NodeResourcesFit().registrations())


def test_a_heartbeat_is_no_event() -> None:
    old, new = b.node("n"), b.node("n")
    new["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "later"}]
    old["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "earlier"}]
    assert node_changes(old, new) == Action.NONE
