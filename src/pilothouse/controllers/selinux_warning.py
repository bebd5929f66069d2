"""Warns of pods that use one volume with SELinux labels of their own: on one node, only one of them could
(KEP-1710, k8s.io/kubernetes/pkg/controller/volume/selinuxwarning). Off unless --controllers names it; it writes events
and nothing else.

A volume that is mounted with a label (its CSI driver says seLinuxMount, and the pod has a label and did not ask for
Recursive) can have one label on a node; others are labelled file by file, and never conflict by label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, NamedTuple

from pilothouse.api import csi_migration, volumes
from pilothouse.api.resources import CSI_DRIVERS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller
from pilothouse.controllers.pods import is_terminal

_RECURSIVE, _MOUNT = "Recursive", "MountOption"
_ONE = "If both pods land on the same node, only one of them may access the volume."


class Use(NamedTuple):
    """How a pod has a volume: "USER:ROLE:TYPE:LEVEL" or "", and the policy that counts."""

    label: str
    policy: str


class SeLinuxWarningController(Controller):
    name: ClassVar[str] = "selinux-warning-controller"
    queue_name: ClassVar[str] = "selinux_warning"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        self._claims = self.watch(PERSISTENT_VOLUME_CLAIMS, keys=self._pods_of_claim)
        self._volumes = self.watch(PERSISTENT_VOLUMES, keys=self._pods_of_volume)
        self._drivers = self.watch(CSI_DRIVERS, keys=self._pods_of_driver)
        self._pods = self.watch(PODS, changed=lambda old, new: is_terminal(old) != is_terminal(new))
        self._pods.add_index("claim", volumes.claims_of)

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get(key)
        if pod is None or is_terminal(pod):
            return None
        for volume in pod["spec"].get("volumes") or ():
            labels = set(labels_of(pod, volume["name"]))
            if len(labels) > 1:
                text = f'Volume "{volume["name"]}" is mounted twice with different SELinux labels inside this pod'
                self.tell(PODS, pod, "Warning", "MultipleSELinuxLabels", text)
                continue
            claim = volumes.claim_name(pod, volume)
            if claim is not None:
                self._compare(pod, f"{pod['metadata']['namespace']}/{claim}")
        return None

    def _compare(self, pod: Obj, claim: str) -> None:
        supports = self._supports(claim)
        if supports is None:
            return
        mine = use_of(pod, claim, supports)
        for other in self._pods.by_index("claim", claim):
            if key_of(other) == key_of(pod) or is_terminal(other):
                continue
            theirs = use_of(other, claim, supports)
            if mine.policy != theirs.policy:
                self._tell_both(pod, other, "SELinuxChangePolicy", mine.policy, theirs.policy)
            if labels_conflict(mine.label, theirs.label):
                self._tell_both(pod, other, "SELinux label", mine.label, theirs.label)

    def _supports(self, claim: str) -> bool | None:
        """Whether a claim's volume can be mounted with a label; None while nobody knows."""
        found = self._claims.get(claim)
        volume = self._volumes.get(found["spec"].get("volumeName") or "") if found is not None else None
        source = csi_migration.attachable(volume["spec"]) if volume is not None else None
        if source is None:
            return None
        driver = self._drivers.get(source.driver)
        return bool(((driver or {}).get("spec") or {}).get("seLinuxMount"))

    def _tell_both(self, pod: Obj, other: Obj, name: str, mine: str, theirs: str) -> None:
        reason = "SELinuxLabelConflict" if name == "SELinux label" else "SELinuxChangePolicyConflict"
        self.tell(PODS, pod, "Normal", reason, conflict_text(name, mine, theirs, pod, other))
        self.tell(PODS, other, "Normal", reason, conflict_text(name, theirs, mine, other, pod))

    # -- keys -------------------------------------------------------------------------------------------

    def _pods_of_claim(self, claim: Obj) -> Iterable[str]:
        return self._users(key_of(claim)) if claim["spec"].get("volumeName") else ()

    def _pods_of_volume(self, volume: Obj) -> Iterable[str]:
        key = volumes.claim_key(volume)
        return self._users(key) if key else ()

    def _pods_of_driver(self, driver: Obj) -> Iterable[str]:
        for volume in self._volumes.list():
            source = csi_migration.attachable(volume["spec"])
            if source is not None and source.driver == key_of(driver):
                yield from self._pods_of_volume(volume)

    def _users(self, claim: str) -> list[str]:
        return [key_of(pod) for pod in self._pods.by_index("claim", claim)]


def use_of(pod: Obj, claim: str, supports: bool) -> Use:
    name = next(
        v["name"]
        for v in pod["spec"]["volumes"]
        if f"{pod['metadata']['namespace']}/{volumes.claim_name(pod, v)}" == claim
    )
    policy = (pod["spec"].get("securityContext") or {}).get("seLinuxChangePolicy") or _MOUNT
    label = next(iter(labels_of(pod, name)), "")
    if not supports or not label or policy == _RECURSIVE:
        return Use("", _RECURSIVE)
    return Use(label, policy)


def labels_of(pod: Obj, volume: str) -> Iterator[str]:
    """The labels of the containers that mount a volume; a container's own options go before its pod's."""
    spec = pod["spec"]
    common = (spec.get("securityContext") or {}).get("seLinuxOptions")
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        if any(mount["name"] == volume for mount in container.get("volumeMounts") or ()):
            options = (container.get("securityContext") or {}).get("seLinuxOptions") or common
            label = ":".join((options or {}).get(part, "") for part in ("user", "role", "type", "level"))
            if label != ":::":
                yield label


def labels_conflict(one: str, other: str) -> bool:
    """Parts that are not said may be anything: nodes fill them in."""
    if not one or not other:
        return False
    parts = zip(one.split(":", 3), other.split(":", 3), strict=True)
    return any(a != b and a and b for a, b in parts)


def conflict_text(name: str, mine: str, theirs: str, pod: Obj, other: Obj) -> str:
    """Other namespaces' pods are not told by name; upstream's text lacks a space there."""
    if pod["metadata"]["namespace"] == other["metadata"]["namespace"]:
        whom = f"pod {other['metadata']['name']}"
        same = f'that uses the same volume as this pod with {name} "{theirs}"'
        return f'{name} "{mine}" conflicts with {whom} {same}. {_ONE}'
    return (
        f'{name}"{mine}" conflicts with another pod that uses the same volume as this pod with a different {name}. '
        f"{_ONE}"
    )
