"""Shares of a device: how much of each capacity a request takes, and whether that is left
(KEP-5075, consumable capacity).

A capacity may come with a policy: what a request without a value gets, and which values there are. A value in between
is rounded up. Amounts are billionths.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.scheduler.dra.devices import Amounts, Device

_NOTHING: Mapping[str, int] = {}


def share(
    device: Device, wanted: Mapping[str, str], used: Mapping[str, int] = _NOTHING
) -> dict[str, int] | None:
    """What of each capacity a request takes beside what is `used`; None when the device has too little left, or does
    not know a capacity that is asked for."""
    defined: Mapping[str, Obj] = device.raw.get("capacity") or {}
    asked = _resolved(device, wanted, defined)
    if asked is None:
        return None
    taken: Amounts = {}
    for name, capacity in defined.items():
        policy = capacity.get("requestPolicy")
        amount = _rounded(asked.get(name), nano(capacity["value"]), policy)
        if policy is not None and not _allowed(amount, policy):
            return None
        if used.get(name, 0) + amount > nano(capacity["value"]):
            return None
        taken[name] = amount
    return taken


def _resolved(device: Device, wanted: Mapping[str, str], defined: Mapping[str, Obj]) -> Amounts | None:
    """By the names that the device uses: its driver is the domain of those without one."""
    driver = f"{device.id.driver}/"
    found: Amounts = {}
    for name, value in wanted.items():
        names = (name, name.removeprefix(driver), driver + name)
        known = next((each for each in names if each in defined), None)
        if known is None:
            return None
        found[known] = nano(value)
    return found


def _rounded(asked: int | None, whole: int, policy: Obj | None) -> int:
    if asked is None:
        default = (policy or {}).get("default")
        return whole if default is None else nano(default)
    steps = (policy or {}).get("validRange")
    if steps is not None and steps.get("min") is not None:
        return _in_steps(asked, nano(steps["min"]), steps.get("step"))
    values = (policy or {}).get("validValues")
    if values:
        return min((nano(each) for each in values if nano(each) >= asked), default=asked)
    return asked


def _in_steps(asked: int, least: int, step: Any) -> int:
    if asked <= least or step is None:
        return max(asked, least)
    return least + -(-(asked - least) // nano(step)) * nano(step)


def _allowed(amount: int, policy: Obj) -> bool:
    if policy.get("default") is not None and amount == nano(policy["default"]):
        return True
    steps = policy.get("validRange")
    if steps is not None:
        return steps.get("max") is None or amount <= nano(steps["max"])
    values = policy.get("validValues")
    return not values or amount in [nano(each) for each in values]


def nano(value: Any) -> int:
    return _nano(str(value))


@lru_cache(4096)
def _nano(text: str) -> int:
    return quantity.parse(text).nano


def texts(device: Device, taken: Mapping[str, int]) -> dict[str, str]:
    """As quantities, in the family of suffixes that the device uses."""
    defined = device.raw.get("capacity") or {}
    return {
        name: str(quantity.Quantity(value, quantity.parse(str(defined[name]["value"])).family))
        for name, value in taken.items()
    }
