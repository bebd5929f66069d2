"""Which volumes are attached to which node, whoever uses them (VolumeAttachment). A pod that has gone may leave its
volume attached for a while, and that takes up room on the node.

An attachment names a persistent volume, which says which volume of the driver it is, and may come later than it.
"""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.types import Obj

Volume = tuple[str, str]
"""A driver, and its handle of the volume."""


class Attachments:
    """`changed(node)` hears of every node whose answer may be another one now; `volume_named` finds a persistent
    volume."""

    def __init__(self, volume_named: Callable[[str], Obj | None]) -> None:
        self._volume_named = volume_named
        self._by_name: dict[str, Obj] = {}
        self._of_node: dict[str, set[str]] = {}
        self._of_volume: dict[str, set[str]] = {}
        self.listeners: list[Callable[[str], None]] = []

    def put(self, attachment: Obj) -> None:
        name = attachment["metadata"]["name"]
        self.remove(name)
        self._by_name[name] = attachment
        node, volume = _ends(attachment)
        self._of_node.setdefault(node, set()).add(name)
        self._of_volume.setdefault(volume, set()).add(name)
        self._tell(node)

    def remove(self, name: str) -> None:
        attachment = self._by_name.pop(name, None)
        if attachment is None:
            return
        node, volume = _ends(attachment)
        for index, key in ((self._of_node, node), (self._of_volume, volume)):
            index[key].discard(name)
            if not index[key]:
                del index[key]
        self._tell(node)

    def volume_changed(self, name: str) -> None:
        for each in self._of_volume.get(name, ()):
            self._tell(_ends(self._by_name[each])[0])

    def _tell(self, node: str) -> None:
        for listener in self.listeners:
            listener(node)

    def nodes(self) -> list[str]:
        """Those that something is attached to."""
        return list(self._of_node)

    def on(self, node: str) -> frozenset[Volume]:
        """CSI volumes alone: others have no driver to count them."""
        found = set()
        for name in self._of_node.get(node, ()):
            spec = self._by_name[name]["spec"]
            volume = self._volume_named(_ends(self._by_name[name])[1])
            csi = volume["spec"].get("csi") if volume is not None else None
            if csi and spec.get("attacher"):
                found.add((spec["attacher"], csi.get("volumeHandle", "")))
        return frozenset(found)


def _ends(attachment: Obj) -> tuple[str, str]:
    """The node, and the persistent volume; "" for one that stands in a pod."""
    spec = attachment["spec"]
    return spec.get("nodeName", ""), (spec.get("source") or {}).get("persistentVolumeName") or ""
