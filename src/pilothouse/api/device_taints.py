"""Taints that DeviceTaintRules put on devices, beside those of their ResourceSlices (KEP-5055,
https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#device-taints-and-tolerations)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse.api.types import Obj

RULES_GATE = "DRADeviceTaintRules"
"""Beta and off in 1.36: rules count where it is on."""


def concerns(rule: Obj, driver: str, pool: str) -> bool:
    """Whether a rule may be about devices of a pool. Without a selector it is about none; an empty one means all."""
    selector = rule["spec"].get("deviceSelector")
    if selector is None:
        return False
    return selector.get("driver") in (None, driver) and selector.get("pool") in (None, pool)


def with_rules(raw: Obj, rules: Sequence[Obj]) -> Obj:
    """A slice's entry of a device as the rules that concern its pool make it: itself where none means this device."""
    added = taints_by(rules, raw["name"])
    return {**raw, "taints": [*(raw.get("taints") or ()), *added]} if added else raw


def taints_by(rules: Iterable[Obj], device: str) -> list[Obj]:
    """The taints of the rules, of those that concern a device's pool, that mean the device."""
    return [
        rule["spec"]["taint"]
        for rule in rules
        if rule["spec"]["deviceSelector"].get("device") in (None, device)
    ]
