"""All pools, by the nodes that can reach them. A pool is worked out again when one of its slices, or a rule that taints
its devices, changes (k8s.io/dynamic-resource-allocation/resourceslice/tracker)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.api import device_taints
from pilothouse.api.types import Obj
from pilothouse.client.informer import Handler
from pilothouse.scheduler.dra.allocator import Reach
from pilothouse.scheduler.dra.devices import DeviceId, Pool, PoolId, pool, pools_on

_ALIKE_MAX = 1000
Nodes = set[str] | None
"""Names; None: any node."""


class Inventory(Handler):
    """`changed` is told which nodes may have other devices now. Nodes that reach the same devices, as where pools are
    not of single nodes, have one and the same `Reach`."""

    def __init__(self, changed: Callable[[Nodes], None]) -> None:
        self._changed = changed
        self._slices: dict[PoolId, dict[str, Obj]] = {}
        self._rules: dict[str, Obj] = {}
        """DeviceTaintRules by name."""
        self._pools: dict[PoolId, Pool] = {}
        self._local: dict[str, set[PoolId]] = {}
        """Pools that are of single nodes alone, by these."""
        self._shared: set[PoolId] = set()
        self._reach: dict[str, tuple[Obj, Reach]] = {}
        """Of nodes that were asked for, as long as they and their pools are the same."""
        self._alike: dict[tuple[int, ...], Reach] = {}
        """One for all nodes that reach the same devices, by what is in it."""

    def on(self, node: Obj) -> Reach:
        """What a node can reach."""
        name = node["metadata"]["name"]
        if len(self._alike) > _ALIKE_MAX:
            self._alike.clear()
        known = self._reach.get(name)
        if known is not None and known[0] is node:
            return known[1]
        ids = self._local.get(name, set()) | self._shared
        found: Reach = pools_on(node, [self._pool(id) for id in ids])
        if self._shared:
            found = self._alike.setdefault(tuple(id(part) for pair in found for part in pair), found)
        self._reach[name] = (node, found)
        return found

    def _pool(self, id: PoolId) -> Pool:
        found = self._pools.get(id)
        if found is None:
            found = self._pools[id] = pool(id, self._slices[id].values(), self._rules_for(id))
        return found

    def _rules_for(self, id: PoolId) -> list[Obj]:
        """In the order of their names."""
        return [rule for _, rule in sorted(self._rules.items()) if device_taints.concerns(rule, *id)]

    def rule_changed(self, old: Obj | None, new: Obj | None) -> None:
        """A DeviceTaintRule came (`old` is None), went (`new` is None) or is another."""
        both = [rule for rule in (old, new) if rule is not None]
        if new is not None:
            self._rules[new["metadata"]["name"]] = new
        elif old is not None:
            self._rules.pop(old["metadata"]["name"], None)
        for id in list(self._slices):
            if any(device_taints.concerns(rule, *id) for rule in both):
                self._sort_in(id, self._nodes(id))

    def devices_changed(self, devices: Iterable[DeviceId]) -> None:
        """They were taken or came free."""
        for id in {device.of for device in devices}:
            self._changed(self._nodes(id))

    def on_add(self, obj: Obj) -> None:
        self._put(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        if old["spec"] == new["spec"]:
            return
        if _id(old) != _id(new):
            self._remove(old)
        self._put(new)

    def on_delete(self, obj: Obj) -> None:
        self._remove(obj)

    def _put(self, obj: Obj) -> None:
        id = _id(obj)
        before = self._nodes(id)
        self._slices.setdefault(id, {})[obj["metadata"]["name"]] = obj
        self._sort_in(id, before)

    def _remove(self, obj: Obj) -> None:
        id = _id(obj)
        before = self._nodes(id)
        slices = self._slices.get(id, {})
        slices.pop(obj["metadata"]["name"], None)
        if not slices:
            self._slices.pop(id, None)
        self._sort_in(id, before)

    def _nodes(self, id: PoolId) -> Nodes:
        """Who may reach a pool."""
        found: set[str] = set()
        for each in self._slices.get(id, {}).values():
            name = each["spec"].get("nodeName")
            if not name:
                return None
            found.add(name)
        return found

    def _sort_in(self, id: PoolId, before: Nodes) -> None:
        self._pools.pop(id, None)
        after = self._nodes(id)
        for name in before or ():
            self._local.get(name, set()).discard(id)
        self._shared.discard(id)
        if after is None:
            self._shared.add(id)
        for name in after or ():
            self._local.setdefault(name, set()).add(id)
        if before is None or after is None:
            self._reach.clear()
            self._alike.clear()
            self._changed(None)
        else:
            for name in before | after:
                self._reach.pop(name, None)
            self._changed(before | after)


class Rules(Handler):
    """DeviceTaintRules, for an inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory

    def on_add(self, obj: Obj) -> None:
        self._inventory.rule_changed(None, obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        if old["spec"] != new["spec"]:
            self._inventory.rule_changed(old, new)

    def on_delete(self, obj: Obj) -> None:
        self._inventory.rule_changed(obj, None)


def _id(obj: Obj) -> PoolId:
    return PoolId(obj["spec"]["driver"], obj["spec"]["pool"]["name"])
