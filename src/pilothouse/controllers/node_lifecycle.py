"""Node lifecycle controller: what a node's heartbeats and conditions mean for the pods on it
(k8s.io/kubernetes/pkg/controller/nodelifecycle).

    heartbeats come ──▶ Ready as reported          taints by condition (NoSchedule), none when all is well
    none for the grace period ──▶ Ready=Unknown    unreachable:NoExecute and NoSchedule, pods marked not ready
    Ready=False ──▶                                not-ready:NoExecute and NoSchedule

NoSchedule taints come at once, NoExecute ones as fast as `node_zones` allows. Who is evicted from a tainted node is
decided by `taint_eviction`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import LEASES, NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.client.pod_conditions import condition_patch
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.controllers import node_zones
from pilothouse.controllers.pods import condition, is_terminal
from pilothouse.kit.world import parse_timestamp

log = logging.getLogger(__name__)

MONITOR_PERIOD_S = 5.0
_WAIT_S_MIN = 0.01
"""A time that a float's rounding left over would not move the clock."""
_TAINT_PERIOD_S = 0.1
"""How long a node that is down waits for its NoExecute taint at least: others of its zone may be seen down too."""
GRACE_PERIOD_S = 50.0
DEFAULT_RATES = node_zones.Rates()
STARTUP_GRACE_PERIOD_S = 60.0
_NAMESPACE = "kube-node-lease"

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_BY_CONDITION: dict[str, dict[str, str]] = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
}
_MANAGED = {key for states in _BY_CONDITION.values() for key in states.values()} | {UNSCHEDULABLE}
_OLDER_LABELS = {
    "kubernetes.io/os": "beta.kubernetes.io/os",
    "kubernetes.io/arch": "beta.kubernetes.io/arch",
}
_WATCHED_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(slots=True)
class _Health:
    """When this controller last saw a node change its lease or Ready condition, by its own clock."""

    seen_s: float
    renew_time: str
    ready: Obj | None
    uid: str


class NodeLifecycleController(Controller):
    name: ClassVar[str] = "node-lifecycle-controller"
    queue_name: ClassVar[str] = "node_lifecycle_controller"

    def __init__(
        self,
        env: Environment,
        *,
        grace_s: float = GRACE_PERIOD_S,
        startup_grace_s: float = STARTUP_GRACE_PERIOD_S,
        rates: node_zones.Rates = DEFAULT_RATES,
    ) -> None:
        super().__init__(env)
        self._zones = node_zones.Zones(rates)
        self._down: set[str] = set()
        """Nodes that were seen down and wait for their NoExecute taint."""
        self._grace_s = grace_s
        self._startup_grace_s = startup_grace_s
        self._health: dict[str, _Health] = {}
        self._well: dict[str, Obj] = {}
        """Nodes as they were when nothing was to be done: most of them. Only `_monitor` looks at them again."""

    def setup(self) -> None:
        self._nodes = self.watch(NODES)
        self._leases = self.informer(LEASES)
        self._pods = self.informer(PODS)
        self._pods.add_index("node", lambda pod: (pod["spec"].get("nodeName", ""),))

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            self._forget(key)
            return None
        if self._is_silent(key, node):
            node = await self._mark_unknown(node)
        elif self._well.get(key) is node:
            return None
        self._well.pop(key, None)
        self._observe(key, node)
        wait_s = await self._taint(key, node)
        await self._label(key, node)
        if _ready_status(node) != "True":
            await self._mark_pods_not_ready(key)
        elif self._nodes.get(key) is node:
            self._well[key] = node
            return None
        return max(min(wait_s, self._until_next_round_s()), _WAIT_S_MIN)

    async def run(self) -> None:
        await asyncio.gather(super().run(), self._monitor())

    async def _monitor(self) -> None:
        """Look after the nodes that are well, all in one go: thousands of keys each with a timer of its own would
        cost more than all that is done with them. The others come again by themselves."""
        while True:
            await self.world.clock.sleep(max(self._until_next_round_s(), _WAIT_S_MIN))
            for name, node in self._well.items():
                if self._nodes.get(name) is not node or self._is_silent(name, node):
                    self.queue.add(name)

    def _until_next_round_s(self) -> float:
        """All nodes are looked at together, so that an outage is seen as one."""
        return MONITOR_PERIOD_S - self.world.clock.monotonic() % MONITOR_PERIOD_S

    # -- the whole cluster ------------------------------------------------------------------------------

    def _observe(self, name: str, node: Obj) -> None:
        ready = condition(node, "Ready")
        if ready is None or not node_zones.counts(node):
            changed = self._zones.forget(name)
        else:
            zone = node_zones.zone_of(node)
            changed = self._zones.observe(name, zone, ready=ready["status"] == "True")
        if changed:
            self._mode_changed()

    def _forget(self, name: str) -> None:
        self._down.discard(name)
        self._well.pop(name, None)
        known = self._health.pop(name, None)
        if known is not None:
            self._event(name, known.uid, "RemovingNode", f"Removing Node {name} from Controller")
        if self._zones.forget(name):
            self._mode_changed()

    def _mode_changed(self) -> None:
        """All nodes are down: nobody is evicted, and taints go. Or some came back: all get a new start."""
        if self._zones.all_down:
            log.info("all nodes are not ready: entering master disruption mode")
        else:
            log.info("some nodes are ready: exiting master disruption mode")
            for health in self._health.values():
                health.seen_s = self.world.clock.monotonic()
        for name in self._health:
            self.queue.add(name)

    # -- heartbeats -------------------------------------------------------------------------------------

    def _is_silent(self, name: str, node: Obj) -> bool:
        """Neither lease nor Ready condition moved for the grace period."""
        now = self.world.clock.monotonic()
        lease = self._leases.get(f"{_NAMESPACE}/{name}")
        renew = str(((lease or {}).get("spec") or {}).get("renewTime") or "")
        ready = condition(node, "Ready")
        health = self._health.get(name)
        if health is None:
            uid = node["metadata"]["uid"]
            health = self._health[name] = _Health(now, renew, ready, uid)
            self._event(name, uid, "RegisteredNode", f"Registered Node {name} in Controller")
            created = node["metadata"].get("creationTimestamp")
            if ready is None and created:
                health.seen_s = now - max(self.world.now() - parse_timestamp(created), 0)
        elif renew != health.renew_time or _heartbeat(ready) != _heartbeat(health.ready):
            health.seen_s, health.renew_time, health.ready = now, renew, ready
        grace_s = self._startup_grace_s if ready is None else self._grace_s
        return now - health.seen_s > grace_s and (ready is None or ready["status"] != "Unknown")

    async def _mark_unknown(self, node: Obj) -> Obj:
        """Say what cannot be known any more."""
        now = self.world.timestamp()
        status = dict(node.get("status") or {})
        present = {c["type"]: c for c in status.get("conditions") or ()}
        for kind in _WATCHED_CONDITIONS:
            old = present.get(kind)
            if old is None:
                present[kind] = {
                    "type": kind,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": node["metadata"].get("creationTimestamp", now),
                    "lastTransitionTime": now,
                }
            elif old["status"] != "Unknown":
                present[kind] = {
                    **old,
                    "status": "Unknown",
                    "reason": "NodeStatusUnknown",
                    "message": "Kubelet stopped posting node status.",
                    "lastTransitionTime": now,
                }
        status["conditions"] = list(present.values())
        wanted = {**node, "apiVersion": "v1", "kind": "Node", "status": status}
        updated = await self.client.update(NODES, wanted, subresource="status")
        if _ready_status(node) == "True":
            name, uid = node["metadata"]["name"], node["metadata"]["uid"]
            self._record(name, uid, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        return updated

    # -- taints -----------------------------------------------------------------------------------------

    async def _taint(self, name: str, node: Obj) -> float:
        """Bring the taints to what is wanted and allowed now; the seconds until more may be."""
        wanted = wanted_taints(node, self.world.timestamp())
        wait_s = self._turn_s(name, node, wanted)
        if wait_s is None or wait_s > 0:
            wanted = [t for t in wanted if not _is_eviction(t)]
        present = (node.get("spec") or {}).get("taints") or []
        if _keys(wanted) != _keys(present):
            await self._write_taints(node, wanted)
        return wait_s or MONITOR_PERIOD_S

    def _turn_s(self, name: str, node: Obj, wanted: list[Obj]) -> float | None:
        """Seconds until the NoExecute taint may stand, None for no time that is known. One that stands already is
        exchanged for the other at once."""
        present = (node.get("spec") or {}).get("taints") or []
        if not any(_is_eviction(t) for t in wanted):
            self._down.discard(name)
            return 0.0
        if self._zones.all_down:
            return None
        if any(_is_eviction(t) for t in present):
            return 0.0
        if name not in self._down:
            self._down.add(name)
            return _TAINT_PERIOD_S
        return self._zones.wait_s(name, self.world.clock.monotonic())

    async def _write_taints(self, node: Obj, wanted: list[Obj]) -> None:
        spec = {**(node.get("spec") or {}), "taints": wanted}
        if not wanted:
            del spec["taints"]
        try:
            await self.client.update(NODES, {**node, "apiVersion": "v1", "kind": "Node", "spec": spec})
        except ApiError as error:
            if error.code != 404:
                raise

    async def _label(self, name: str, node: Obj) -> None:
        """Older labels say what the stable ones say (reconcileNodeLabels)."""
        labels = node["metadata"].get("labels") or {}
        wanted = {old: labels[key] for key, old in _OLDER_LABELS.items() if key in labels}
        if wanted.items() <= labels.items():
            return
        try:
            await self.client.patch(NODES, name, {"metadata": {"labels": wanted}})
        except ApiError as error:
            if error.code != 404:
                raise

    async def _mark_pods_not_ready(self, name: str) -> None:
        """Pods on a node that is not ready serve nobody."""
        for pod in self._pods.by_index("node", name):
            ready = condition(pod, "Ready")
            if ready is None or ready["status"] != "True" or is_terminal(pod):
                continue
            meta = pod["metadata"]
            new = {"type": "Ready", "status": "False", "lastTransitionTime": self.world.timestamp()}
            patch = condition_patch(pod, new)
            try:
                await self.client.patch(
                    PODS, meta["name"], patch, meta["namespace"], patch_type="strategic", subresource="status"
                )
            except ApiError as error:
                if error.code != 404:
                    raise
            regarding = {**pod, "kind": "Pod", "apiVersion": "v1"}
            self.recorder.event(regarding, "Warning", "NodeNotReady", "Node is not ready")

    def _event(self, name: str, uid: str, reason: str, message: str) -> None:
        self._record(name, uid, reason, f"Node {name} event: {message}")

    def _record(self, name: str, uid: str, reason: str, message: str) -> None:
        regarding = {"kind": "Node", "apiVersion": "v1", "name": name, "uid": uid}
        self.recorder.event(regarding, "Normal", reason, message)


def wanted_taints(node: Obj, now: str) -> list[Obj]:
    """A node's taints as its conditions and spec.unschedulable ask for; those of others stay. A node that has no
    Ready condition yet loses the taint that admission gave it, as upstream's does."""
    spec = node.get("spec") or {}
    present = spec.get("taints") or []
    out = [t for t in present if not _is_managed(t)]
    wanted: list[tuple[str, str]] = []
    for kind, states in _BY_CONDITION.items():
        found = condition(node, kind)
        key = states.get(found["status"]) if found is not None else None
        if key:
            wanted.append((key, "NoSchedule"))
            if kind == "Ready":
                wanted.append((key, "NoExecute"))
    if spec.get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    by_key = {(t["key"], t["effect"]): t for t in present}
    for key, effect in wanted:
        kept = by_key.get((key, effect))
        out.append(kept or {"key": key, "effect": effect, "timeAdded": now})
    return out


def _is_eviction(taint: Obj) -> bool:
    return taint["effect"] == "NoExecute" and taint["key"] in (NOT_READY, UNREACHABLE)


def _is_managed(taint: Obj) -> bool:
    return _is_eviction(taint) or (taint["effect"] == "NoSchedule" and taint["key"] in _MANAGED)


def _keys(taints: list[Obj]) -> set[tuple[str, str, str]]:
    return {(t["key"], t["effect"], t.get("value", "")) for t in taints}


def _heartbeat(ready: Obj | None) -> tuple[str, str]:
    if ready is None:
        return "", ""
    return ready["status"], ready.get("lastHeartbeatTime") or ""


def _ready_status(node: Obj) -> str:
    ready = condition(node, "Ready")
    return str(ready["status"]) if ready is not None else "True"
