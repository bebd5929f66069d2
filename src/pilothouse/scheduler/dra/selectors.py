"""Whether a device is what a CEL expression asks for (k8s.io/dynamic-resource-allocation/cel, DeviceMatches)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.cel.compiler import DEVICE, CompileError, Program
from pilothouse.api.cel.devices import COST_MAX
from pilothouse.api.cel.evaluate import EvalError, WithDefault
from pilothouse.api.cel.functions import Amount, semver
from pilothouse.api.cel.metering import CostExceeded, run
from pilothouse.api.types import Obj
from pilothouse.scheduler.dra.devices import Device

_HINT = ". Consider using CEL optional chaining (?), has() macro, or orValue() for optional fields"
_VALUES = "values"


class SelectorError(ValueError):
    """The expression cannot be compiled, or fails for a device: nothing can be said of any claim that has it."""


def matches(expression: str, device: Device) -> bool:
    """SelectorError. What was found is remembered with the device."""
    known: bool | None = device.facts.get(expression)
    if known is None:
        known = device.facts[expression] = _evaluate(expression, device)
    return known


def _evaluate(expression: str, device: Device) -> bool:
    program = _compiled(expression)
    if isinstance(program, str):
        raise SelectorError(f"CEL compile error: {program}")
    try:
        value, error, _ = run(program.tree, {"device": _values(device)}, COST_MAX)
    except CostExceeded:
        raise _failed(device, "operation cancelled: actual cost limit exceeded") from None
    except EvalError as broken:
        raise _failed(device, str(broken)) from None
    if error is not None:
        text = str(error)
        raise _failed(device, text + _HINT if text.startswith("no such key:") else text)
    if not isinstance(value, bool):
        raise _failed(device, f"CEL result of type {type(value).__name__} could not be converted to bool")
    return value


def _failed(device: Device, text: str) -> SelectorError:
    return SelectorError(f"on device {device.id}: CEL runtime error: {text}")


@lru_cache(1024)
def _compiled(expression: str) -> Program | str:
    """The program, or why there is none."""
    try:
        return DEVICE.program(expression)
    except CompileError as error:
        return str(error)


def _values(device: Device) -> dict[str, Any]:
    """What an expression sees as `device`. Names without a domain are in the driver's."""
    known: dict[str, Any] | None = device.facts.get(_VALUES)
    if known is None:
        known = device.facts[_VALUES] = {
            "driver": device.id.driver,
            "attributes": _by_domain(device, "attributes", _attribute),
            "capacity": _by_domain(device, "capacity", lambda raw: Amount(quantity.parse(str(raw["value"])))),
            "allowMultipleAllocations": device.shareable,
        }
    return known


def _by_domain(device: Device, group: str, convert: Any) -> WithDefault:
    found = WithDefault(dict)
    for name, raw in (device.raw.get(group) or {}).items():
        domain, _, id = name.rpartition("/")
        found.setdefault(domain or device.id.driver, {})[id] = convert(raw)
    return found


def _attribute(raw: Obj) -> Any:
    if "version" in raw:
        return semver(raw["version"])
    for kind in ("int", "bool", "string"):
        if kind in raw:
            return raw[kind]
    raise EvalError("unsupported attribute value")


def attribute(device: Device, name: str) -> tuple[str, object] | None:
    """A device's attribute by its full name, as its kind and value, which make it equal to another one's."""
    attributes = device.raw.get("attributes") or {}
    found = attributes.get(name)
    if found is None:
        domain, _, id = name.partition("/")
        found = attributes.get(id) if domain == device.id.driver else None
    if found is None:
        return None
    return next(iter(found.items()), None)
