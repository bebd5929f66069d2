"""What a device selector may cost (k8s.io/dynamic-resource-allocation/cel/compile.go): sizes of what `device` shows."""

from __future__ import annotations

from pilothouse.api.cel import types as t
from pilothouse.api.cel.cost import Path, step_into
from pilothouse.api.cel.cost_estimate import Estimate
from pilothouse.api.cel.decl_types import DeclType
from pilothouse.api.cel.declarations import QUANTITY

COST_MAX = 1_000_000
"""Of one selector (CELSelectorExpressionMaxCost)."""

_ATTRIBUTES_MAX = 32
"""Of a device, with its capacities."""


def _text(characters_max: int) -> DeclType:
    return DeclType(t.STRING, 2, characters_max)


def _map(key: DeclType, element: DeclType) -> DeclType:
    return DeclType(t.map_of(key.cel, element.cel), 2, _ATTRIBUTES_MAX, key=key, element=element)


_DOMAIN, _ID, _DRIVER = _text(63), _text(32), _text(63)
_ATTRIBUTE = DeclType(t.ANY, 1, 64)
_DEVICE = DeclType(
    t.struct("kubernetes.DRADevice"),
    2,
    fields={
        "driver": _DRIVER,
        "attributes": _map(_DOMAIN, _map(_ID, _ATTRIBUTE)),
        "capacity": _map(_DOMAIN, _map(_ID, DeclType(QUANTITY, 8))),
        "allowMultipleAllocations": DeclType(t.BOOL, 4),
    },
)


def device_sizes(path: Path) -> Estimate | None:
    if path[:1] != ("device",):
        return None
    node = _DEVICE
    for step in path[1:]:
        inner = step_into(node, step)
        if inner is None and node.element is _ATTRIBUTE:
            # `device.attributes["a.com"].model`: attributes are alike, whatever they are called.
            inner = _ATTRIBUTE
        if inner is None:
            return None
        node = inner
    return Estimate(0, node.elements_max)
