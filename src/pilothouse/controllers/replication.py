"""ReplicationController controller: the ReplicaSet loop over the older kind, whose selector is a plain map
(k8s.io/kubernetes/pkg/controller/replication)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import labels
from pilothouse.api.resources import REPLICATION_CONTROLLERS, Resource
from pilothouse.api.types import Obj
from pilothouse.controllers.replicaset import ReplicaSetController


class ReplicationController(ReplicaSetController):
    name: ClassVar[str] = "replication-controller"
    queue_name: ClassVar[str] = "replicationmanager"
    resource: ClassVar[Resource] = REPLICATION_CONTROLLERS
    counts_terminating: ClassVar[bool] = False

    def selector(self, owner: Obj) -> labels.Selector:
        return labels.from_label_selector({"matchLabels": owner["spec"].get("selector") or {}})
