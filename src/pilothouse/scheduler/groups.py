"""What the scheduler looks up of other objects: namespaces by label, and the group that a pod belongs to
(pkg/scheduler/framework/plugins/helper/spread.go DefaultSelector)."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api import labels
from pilothouse.api.resources import (
    NAMESPACES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informers
from pilothouse.scheduler.pod_info import PodInfo

_OWNERS: Mapping[tuple[str, str], Resource] = {
    ("v1", "ReplicationController"): REPLICATION_CONTROLLERS,
    ("apps/v1", "ReplicaSet"): REPLICA_SETS,
    ("apps/v1", "StatefulSet"): STATEFUL_SETS,
}


class Groups:
    def __init__(self, informers: Informers) -> None:
        self._namespaces = informers.informer(NAMESPACES)
        self._services = informers.informer(SERVICES)
        self._owners = {kind: informers.informer(resource) for kind, resource in _OWNERS.items()}
        self._services.add_index("namespace", lambda obj: (obj["metadata"]["namespace"],))

    def namespaces(self, selector: labels.Selector) -> frozenset[str]:
        return frozenset(
            obj["metadata"]["name"]
            for obj in self._namespaces.list()
            if selector.matches(obj["metadata"].get("labels") or {})
        )

    def of(self, info: PodInfo) -> labels.Selector:
        """Pods behind the same services, of the same controller; `labels.EVERYTHING` when it has neither."""
        meta = info.pod["metadata"]
        services = self._services.by_index("namespace", info.namespace)
        if not services and not meta.get("ownerReferences"):
            return labels.EVERYTHING
        wanted: dict[str, str] = {}
        for service in services:
            selector = service["spec"].get("selector") or {}
            if selector and selector.items() <= (meta.get("labels") or {}).items():
                wanted.update(selector)
        found = labels.from_label_selector({"matchLabels": wanted})
        owned = self._owner_selector(info)
        return labels.Selector((*found.requirements, *owned.requirements))

    def _owner_selector(self, info: PodInfo) -> labels.Selector:
        refs: list[Obj] = info.pod["metadata"].get("ownerReferences") or []
        ref = next((r for r in refs if r.get("controller")), {})
        kind = (ref.get("apiVersion", ""), ref.get("kind", ""))
        informer = self._owners.get(kind)
        owner = informer.get(f"{info.namespace}/{ref['name']}") if informer is not None else None
        if owner is None:
            return labels.EVERYTHING
        selector = owner["spec"].get("selector") or {}
        if kind[1] == "ReplicationController":
            selector = {"matchLabels": selector}
        return labels.from_label_selector(selector)
