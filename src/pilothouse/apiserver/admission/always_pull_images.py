"""AlwaysPullImages: nobody runs an image that a node happens to have without being allowed to pull it
(plugin/pkg/admission/alwayspullimages)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pilothouse.api import errors
from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Operation, Plugin, Target

_LISTS = ("initContainers", "containers", "ephemeralContainers")


class AlwaysPullImages(Plugin):
    name: ClassVar[str] = "AlwaysPullImages"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS, ("", "pods", "ephemeralcontainers")))

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        if _has_new_images(a.obj, a.old):
            for _, container in _containers(a.obj):
                container["imagePullPolicy"] = "Always"
            for volume in a.obj["spec"].get("volumes") or ():
                if volume.get("image") is not None:
                    volume["image"]["pullPolicy"] = "Always"

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None
        if not _has_new_images(a.obj, a.old):
            return
        wrong = [
            f.not_supported(f"spec.{path}.imagePullPolicy", container.get("imagePullPolicy", ""), ("Always",))
            for path, container in _containers(a.obj)
            if container.get("imagePullPolicy") != "Always"
        ]
        wrong += [
            f.not_supported(
                f"spec.volumes[{i}].image.pullPolicy", volume["image"].get("pullPolicy", ""), ("Always",)
            )
            for i, volume in enumerate(a.obj["spec"].get("volumes") or ())
            if volume.get("image") is not None and volume["image"].get("pullPolicy") != "Always"
        ]
        if wrong:
            raise errors.forbidden("", "pods", a.name, f.aggregate(wrong))


def _containers(pod: Obj) -> Iterator[tuple[str, Obj]]:
    for key in _LISTS:
        for i, container in enumerate(pod["spec"].get(key) or ()):
            yield f"{key}[{i}]", container


def _has_new_images(pod: Obj, old: Obj | None) -> bool:
    """Updates that bring no new image are let be: pods from before the plugin was on stay usable."""
    if old is None:
        return True
    known = {container.get("image") for _, container in _containers(old)}
    return any(container.get("image") not in known for _, container in _containers(pod))
