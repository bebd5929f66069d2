"""Attaching the CSI volumes of pods to their nodes, and detaching what nobody there needs any more
(k8s.io/kubernetes/pkg/controller/volume/attachdetach).

                    pod on a node                              pods gone
    not attached ───────────────▶ VolumeAttachment made ─────────────────────▶ in volumesInUse? wait ──▶ deleted
                    (exclusive: only when it is            driver attaches:        │ 6 min and the node
                     attached nowhere else)                in volumesAttached      │ not ready, or out of
                                                                                   ▼ service: forced

What is attached is read from the VolumeAttachments, what is wanted from the pods: a manager that starts anew takes over
all that it finds, and detaches what nobody wants. Attachments that others make while it runs are theirs, and stay, as
upstream. Keys are `volume/NAME` and `node/NAME`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import volumes
from pilothouse.api.csi_migration import Attachable
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    CSI_DRIVERS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTACHMENTS,
)
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.controllers import attach_detach_rules as rules
from pilothouse.controllers.pods import is_terminating
from pilothouse.kit.metrics import counter

log = logging.getLogger(__name__)

FORCE_S = 360.0
"""After so long, volumes are detached from a node that is not ready though it says that it uses them."""
_VOLUME, _NODE = "volume/", "node/"
_MULTI_ATTACH = "multi-attach"


class AttachDetachController(Controller):
    """`force_detach` False: only the out-of-service taint forces (--disable-force-detach-on-timeout)."""

    name: ClassVar[str] = "persistentvolume-attach-detach-controller"
    queue_name: ClassVar[str] = "pvcs"

    def __init__(self, env: Environment, *, force_detach: bool = True) -> None:
        super().__init__(env)
        self._force_detach = force_detach
        self._unwanted_since: dict[tuple[str, str], float] = {}
        self._told: dict[tuple[str, str], str] = {}
        """The last failure that pods were told of, by volume and node."""
        self._ours: set[str] = set()
        """The names of attachments that we made, or found when we started."""
        self._made: dict[str, Obj] = {}
        """Attachments of ours by name that pods were not yet told of."""
        self._in_use: dict[str, frozenset[str]] = {}
        """What nodes said last of what they use; also those that have gone since."""
        self._forced = counter(
            env.metrics,
            "attach_detach_controller_attachdetach_controller_forced_detaches",
            "Number of times the A/D Controller performed a forced detach",
            ["reason"],
        )

    def setup(self) -> None:
        self._claims = self.watch(PERSISTENT_VOLUME_CLAIMS, keys=_volume_of_claim)
        self._volumes = self.watch(PERSISTENT_VOLUMES, keys=lambda v: (_VOLUME + key_of(v),))
        self._pods = self.watch(PODS, keys=self._volumes_of_pod, changed=_pod_changed)
        self._pods.add_index("claim", volumes.claims_of)
        self._attachments = self.watch(VOLUME_ATTACHMENTS, keys=_attachment_keys)
        self._attachments.add_index("volume", lambda a: filter(None, (_volume_name(a),)))
        self._attachments.add_index("node", lambda a: (a["spec"]["nodeName"],))
        self._attachments.add_handler(_Forget(self._ours))
        self._nodes = self.watch(NODES, keys=self._keys_of_node, changed=_node_changed)
        self._drivers = self.watch(CSI_DRIVERS, keys=self._volumes_of_driver)

    async def run(self) -> None:
        await self._attachments.synced()
        self._ours.update(self._attachments.keys())
        await super().run()

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_NODE):
            await self._report(key.removeprefix(_NODE))
            return None
        name = key.removeprefix(_VOLUME)
        volume = self._volumes.get(name)
        if volume is None:
            await self._let_go(name)
            return None
        drivers = {key_of(d): rules.wants_attachment(d) for d in self._drivers.list()}
        found = rules.attachable(volume, drivers) if volume is not None else None
        if found is None:
            return None
        wanted = self._wanted(volume)
        delays = [
            await self._detach_if_safe(volume, found, attachment)
            for node, attachment in self._attached_to(name).items()
            if node not in wanted
        ]
        for node, pods in wanted.items():
            self._unwanted_since.pop((name, node), None)
            await self._attach(volume, found, node, pods, wanted)
        due = [delay for delay in delays if delay is not None]
        return min(due) if due else None

    # -- attaching --------------------------------------------------------------------------------------

    def _wanted(self, volume: Obj) -> dict[str, list[Obj]]:
        """The pods that need a volume by their node."""
        key = volumes.claim_key(volume)
        claim = self._claims.get(key) if key else None
        if claim is None or not volumes.is_bound_to(volume, claim):
            return {}
        if claim["spec"].get("volumeName") != volume["metadata"]["name"]:
            return {}
        out: dict[str, list[Obj]] = {}
        for pod in self._pods.by_index("claim", key):
            node = self._nodes.get(pod["spec"].get("nodeName") or "")
            if (
                node is not None
                and rules.MANAGED in volumes.annotations_of(node)
                and rules.needs_volumes(pod)
            ):
                out.setdefault(pod["spec"]["nodeName"], []).append(pod)
        return out

    def _attached_to(self, volume: str) -> dict[str, Obj]:
        """A volume's attachments by node, those among them that we made and the informer does not show yet."""
        seen = int(self._attachments.last_revision or 0)
        ours = (
            a
            for a in self._made.values()
            if _volume_name(a) == volume and int(a["metadata"]["resourceVersion"]) > seen
        )
        return {_node_of(a): a for a in (*ours, *self._known("volume", volume))}

    def _known(self, index: str, value: str) -> list[Obj]:
        """Those of ours that the informer shows."""
        found = self._attachments.by_index(index, value)
        return [a for a in found if a["metadata"]["name"] in self._ours]

    async def _attach(
        self, volume: Obj, found: Attachable, node: str, pods: list[Obj], wanted: dict[str, list[Obj]]
    ) -> None:
        name = volume["metadata"]["name"]
        attached = self._attached_to(name)
        if node in attached:
            self._tell_outcome(attached[node], name, pods)
            return
        if attached and rules.is_exclusive(volume):
            self._tell_multi_attach(name, node, pods, [p for n in attached for p in wanted.get(n, ())])
            return
        body: Obj = {
            "apiVersion": VOLUME_ATTACHMENTS.group_version,
            "kind": VOLUME_ATTACHMENTS.kind,
            "metadata": {"name": rules.attachment_name(found, node)},
            "spec": {"attacher": found.driver, "nodeName": node, "source": {"persistentVolumeName": name}},
        }
        try:
            self._ours.add(body["metadata"]["name"])
            self._made[body["metadata"]["name"]] = await self.client.create(VOLUME_ATTACHMENTS, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                self._tell_failure(name, node, pods, str(error))
                raise

    def _tell_outcome(self, attachment: Obj, volume: str, pods: list[Obj]) -> None:
        status = attachment.get("status") or {}
        problem = (status.get("attachError") or {}).get("message", "")
        if status.get("attached"):
            self._told.pop((volume, _node_of(attachment)), None)
            if self._made.pop(attachment["metadata"]["name"], None) is not None:
                # Upstream's message ends with the space, too.
                message = f'AttachVolume.Attach succeeded for volume "{volume}" '
                self._tell_pods(pods, "Normal", "SuccessfulAttachVolume", message)
        elif problem:
            self._tell_failure(volume, _node_of(attachment), pods, problem)

    def _tell_failure(self, volume: str, node: str, pods: list[Obj], problem: str) -> None:
        if self._told.get((volume, node)) != problem:
            self._told[volume, node] = problem
            text = f'AttachVolume.Attach failed for volume "{volume}" : {problem}'
            self._tell_pods(pods, "Warning", "FailedAttachVolume", text)

    def _tell_multi_attach(self, volume: str, node: str, pods: list[Obj], others: list[Obj]) -> None:
        if self._told.get((volume, node)) == _MULTI_ATTACH:
            return
        self._told[volume, node] = _MULTI_ATTACH
        for pod in pods:
            text = rules.multi_attach_text(volume, pod, others)
            self._tell_pods([pod], "Warning", "FailedAttachVolume", text)

    def _tell_pods(self, pods: list[Obj], type: str, reason: str, message: str) -> None:
        for pod in pods:
            self.recorder.event({**pod, "kind": "Pod", "apiVersion": "v1"}, type, reason, message)

    # -- detaching --------------------------------------------------------------------------------------

    async def _detach_if_safe(self, volume: Obj, found: Attachable, attachment: Obj) -> float | None:
        """Seconds after which to look again, None when a change will tell."""
        if is_terminating(attachment):
            return None
        name, node_name = volume["metadata"]["name"], _node_of(attachment)
        node = self._nodes.get(node_name)
        now = self.world.clock.monotonic()
        since = self._unwanted_since.setdefault((name, node_name), now)
        in_use = rules.in_use(node) if node is not None else self._in_use.get(node_name, frozenset())
        if rules.unique_name(found) in in_use:
            left_s = since + FORCE_S - now
            if rules.is_out_of_service(node):
                self._force(name, node_name, "out-of-service")
            elif left_s > 0:
                return left_s
            elif rules.is_healthy(node) or not self._force_detach:
                return FORCE_S
            else:
                self._force(name, node_name, "timeout")
        await self._report(node_name, without=rules.unique_name(found))
        await self._delete(attachment)
        for mark in (self._unwanted_since, self._told):
            mark.pop((name, node_name), None)
        self._made.pop(attachment["metadata"]["name"], None)
        return None

    async def _let_go(self, volume: str) -> None:
        """What is attached outlives its volume's object never: a driver's finalizer holds that. So these are not."""
        for attachment in self._attached_to(volume).values():
            if rules.is_made_here(attachment) and not is_terminating(attachment):
                await self._delete(attachment)

    async def _delete(self, attachment: Obj) -> None:
        try:
            await self.client.delete(VOLUME_ATTACHMENTS, attachment["metadata"]["name"])
        except ApiError as error:
            if error.code != 404:
                raise

    def _force(self, volume: str, node: str, reason: str) -> None:
        log.warning("%s: force detaching volume %s from node %s: %s", self.name, volume, node, reason)
        self._forced.labels(reason).inc()

    # -- what nodes are told ----------------------------------------------------------------------------

    async def _report(self, name: str, without: str = "") -> None:
        """status.volumesAttached: a kubelet mounts what stands there. A volume leaves it before it is detached."""
        node = self._nodes.get(name)
        if node is None:
            if not self._attachments.by_index("node", name):
                self._in_use.pop(name, None)
            return
        self._in_use[name] = rules.in_use(node)
        attached = sorted(set(self._attached(name)) - {without})
        before = (node.get("status") or {}).get("volumesAttached") or []
        if [v["name"] for v in before] == attached:
            return
        patch = {"status": {"volumesAttached": [{"name": v, "devicePath": ""} for v in attached] or None}}
        try:
            await self.client.patch(NODES, name, patch, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise

    def _attached(self, node: str) -> Iterable[str]:
        for attachment in self._known("node", node):
            volume = self._volumes.get(_volume_name(attachment))
            found = rules.attachable(volume, {}) if volume is not None else None
            attached = (attachment.get("status") or {}).get("attached")
            if found is not None and attached and not is_terminating(attachment):
                yield rules.unique_name(found)

    # -- keys -------------------------------------------------------------------------------------------

    def _volumes_of_pod(self, pod: Obj) -> Iterable[str]:
        if not pod["spec"].get("nodeName"):
            return
        for key in volumes.claims_of(pod):
            claim = self._claims.get(key)
            if claim is not None:
                yield from _volume_of_claim(claim)

    def _keys_of_node(self, node: Obj) -> Iterable[str]:
        """The node's own, and those of the volumes that wait for what it says."""
        name = key_of(node)
        yield _NODE + name
        for attachment in self._attachments.by_index("node", name):
            yield from _attachment_keys(attachment)

    def _volumes_of_driver(self, driver: Obj) -> Iterable[str]:
        name = key_of(driver)
        for volume in self._volumes.list():
            found = rules.attachable(volume, {})
            if found is not None and found.driver == name:
                yield _VOLUME + key_of(volume)


class _Forget:
    """Names of attachments that have gone."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def on_add(self, obj: Obj) -> None: ...

    def on_update(self, old: Obj, new: Obj) -> None: ...

    def on_delete(self, obj: Obj) -> None:
        self._names.discard(obj["metadata"]["name"])


def _volume_of_claim(claim: Obj) -> Iterable[str]:
    name = claim["spec"].get("volumeName")
    return (_VOLUME + name,) if name else ()


def _volume_name(attachment: Obj) -> str:
    return str(attachment["spec"]["source"].get("persistentVolumeName") or "")


def _node_of(attachment: Obj) -> str:
    return str(attachment["spec"]["nodeName"])


def _attachment_keys(attachment: Obj) -> Iterable[str]:
    name = _volume_name(attachment)
    return (_VOLUME + name, _NODE + _node_of(attachment)) if name else (_NODE + _node_of(attachment),)


def _node_changed(old: Obj, new: Obj) -> bool:
    return _of_interest(old) != _of_interest(new)


def _of_interest(node: Obj) -> tuple[object, ...]:
    status = node.get("status") or {}
    used, attached = status.get("volumesInUse"), status.get("volumesAttached")
    return used, attached, (node.get("spec") or {}).get("taints"), rules.is_healthy(node)


def _pod_changed(old: Obj, new: Obj) -> bool:
    return rules.needs_volumes(old) != rules.needs_volumes(new) or (
        old["metadata"]["uid"] != new["metadata"]["uid"]
    )
