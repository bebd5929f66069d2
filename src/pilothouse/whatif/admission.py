"""What an API server does to a pod that comes in, as far as scheduling is concerned: the real admission plugins, asked
about objects of a snapshot (https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/)."""

from __future__ import annotations

import copy
import logging

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PERSISTENT_VOLUME_CLAIMS, PODS, PRIORITY_CLASSES, Resource
from pilothouse.api.types import Obj
from pilothouse.api.validation.scheduling import SYSTEM_CLASSES
from pilothouse.apiserver.admission.default_storage_class import DefaultStorageClass
from pilothouse.apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from pilothouse.apiserver.admission.limit_ranger import LimitRanger
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Plugin
from pilothouse.apiserver.admission.priority import Priority
from pilothouse.apiserver.admission.runtime_class import RuntimeClass
from pilothouse.apiserver.authz.rbac import Decision
from pilothouse.apiserver.request import RequestInfo, UserInfo
from pilothouse.client.informer import key_of
from pilothouse.kit.world import World
from pilothouse.whatif.kinds import kinds
from pilothouse.whatif.snapshot import Snapshot

log = logging.getLogger(__name__)

_USER = UserInfo("system:admin", "", ("system:masters",))


class Admission:
    """Priority, LimitRanger, RuntimeClass and DefaultTolerationSeconds, in the order of a server's chain; for claims
    DefaultStorageClass. Quotas are not charged."""

    def __init__(self, snapshot: Snapshot, world: World) -> None:
        for name, (value, _) in SYSTEM_CLASSES.items():
            if snapshot.get(PRIORITY_CLASSES, name) is None:
                head = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
                snapshot.add({**head, "metadata": {"name": name}, "value": value})
        env = Environment(snapshot, world, _NoObjects(), _anything, lambda group, version, kind: None)
        self._pods: tuple[Plugin, ...] = (
            LimitRanger(env),
            RuntimeClass(env),
            DefaultTolerationSeconds(),
            Priority(env),
        )
        self._claims: tuple[Plugin, ...] = (DefaultStorageClass(env),)

    async def pod(self, pod: Obj) -> Obj:
        """The pod that a server would store. ApiError when it would refuse it; BadObject when it is none."""
        return await self._through(self._pods, PODS, pod)

    async def claim(self, claim: Obj) -> Obj:
        return await self._through(self._claims, PERSISTENT_VOLUME_CLAIMS, claim)

    async def complete(self, snapshot: Snapshot) -> None:
        """Take in the pods of a snapshot that somebody wrote by hand: they have seen no server. What would be refused
        stays as it is, as it is there."""
        for pod in list(snapshot.list(PODS)):
            if "priority" in pod["spec"]:
                continue
            try:
                snapshot.put(PODS, {**await self.pod(pod), "status": pod.get("status") or {}})
            except ApiError as error:
                log.info("%s is left as it is: %s", key_of(pod), error)

    async def _through(self, plugins: tuple[Plugin, ...], resource: Resource, obj: Obj) -> Obj:
        made = copy.deepcopy(kinds().complete(obj))
        meta = made["metadata"]
        meta["namespace"] = meta.get("namespace") or "default"
        attributes = Attributes(
            "CREATE", resource, "", meta["namespace"], meta.get("name", ""), made, None, _USER, False, {}, []
        )
        for plugin in plugins:
            await plugin.admit(attributes)
        for plugin in plugins:
            await plugin.validate(attributes)
        return made


def _anything(user: UserInfo, info: RequestInfo) -> Decision:
    return Decision(True, "")


class _NoObjects:
    async def make(self, resource: Resource, obj: Obj) -> bool:
        return False

    async def update_status(self, resource: Resource, obj: Obj) -> None: ...
