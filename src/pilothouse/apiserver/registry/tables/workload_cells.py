"""Cells that tables of workloads share: containers, images, selectors (pkg/printers/internalversion)."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.api import labels
from pilothouse.api.types import Obj
from pilothouse.api.validation.meta import validate_label_selector
from pilothouse.apiserver.registry.tables.column import Column

NONE = "<none>"
CONTAINERS = Column("Containers", describe="Names of each container in the template.", priority=1)
IMAGES = Column("Images", describe="Images referenced by each container in the template.", priority=1)
SELECTOR = Column("Selector", describe="@spec.selector", priority=1)


def containers(template: Obj) -> str:
    return ",".join(c.get("name", "") for c in template["spec"].get("containers") or ())


def images(template: Obj) -> str:
    return ",".join(c.get("image", "") for c in template["spec"].get("containers") or ())


def formatted(given: Mapping[str, str] | None) -> str:
    """A map of labels as `a=b,c=d`."""
    return ",".join(f"{key}={value}" for key, value in sorted((given or {}).items())) or NONE


def selector(given: Obj | None) -> str:
    if given is not None and validate_label_selector(given, ""):
        return "<error>"
    return str(labels.from_label_selector(given)) or NONE
