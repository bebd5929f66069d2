"""What a claim asks for, request by request."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from pilothouse.api.types import Obj
from pilothouse.scheduler.dra import selectors
from pilothouse.scheduler.dra.devices import Device

_encode = msgspec.json.Encoder(order="deterministic").encode
Classes = Callable[[str], Obj | None]
"""A DeviceClass by name."""


class RequestError(ValueError):
    """Something is wrong with a claim or its class; no node can help."""


class Selector(NamedTuple):
    """`owner` is whose it is, for errors."""

    owner: str
    expression: str


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A request, or one of several that would do as well: then `parent` is the request they are of. `count` 0: all
    devices that match."""

    name: str
    parent: str
    device_class: Obj
    selectors: tuple[Selector, ...]
    count: int
    admin: bool
    tolerations: Sequence[Obj]
    capacity: Mapping[str, str]
    key: Hashable
    """The same for requests that the same devices would do for."""

    @property
    def full_name(self) -> str:
        return f"{self.parent}/{self.name}" if self.parent else self.name

    def selects(self, device: Device) -> bool:
        """RequestError when an expression fails."""
        for selector in self.selectors:
            try:
                if not selectors.matches(selector.expression, device):
                    return False
            except selectors.SelectorError as error:
                between = " " if str(error).startswith("on device") else ": "
                raise RequestError(f"{selector.owner}{between}{error}") from None
        return True

    def tolerates(self, device: Device) -> bool:
        """Whether none of the device's taints keeps it from this request (KEP-5055)."""
        return all(
            taint["effect"] not in _HARD or any(tolerates(each, taint) for each in self.tolerations)
            for taint in device.raw.get("taints") or ()
        )


_HARD = ("NoSchedule", "NoExecute")


def tolerates(toleration: Obj, taint: Obj) -> bool:
    """A DeviceToleration: an empty effect is any effect, an empty key with Exists any key."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(toleration.get("key") and toleration.get("value", "") == taint.get("value", ""))


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A claim: its requests, each with the alternatives that would do, the first one best."""

    claim: Obj
    requests: tuple[tuple[Request, ...], ...]

    @property
    def label(self) -> str:
        return _label(self.claim)


def _label(claim: Obj) -> str:
    meta = claim["metadata"]
    return f"{meta['namespace']}/{meta['name']}"


def wanted(claim: Obj, classes: Classes) -> Wanted:
    """RequestError."""
    return Wanted(
        claim,
        tuple(
            _alternatives(claim, request, classes)
            for request in claim["spec"]["devices"].get("requests") or ()
        ),
    )


def _alternatives(claim: Obj, request: Obj, classes: Classes) -> tuple[Request, ...]:
    exactly = request.get("exactly")
    if exactly is not None:
        return (_request(claim, request["name"], "", exactly, classes),)
    return tuple(
        _request(claim, sub["name"], request["name"], sub, classes)
        for sub in request.get("firstAvailable") or ()
    )


def _request(claim: Obj, name: str, parent: str, body: Obj, classes: Classes) -> Request:
    who = f"claim {_label(claim)}, request {name}"
    class_name = body["deviceClassName"]
    found = classes(class_name)
    if found is None:
        missing = f'deviceclass.resource.k8s.io "{class_name}" not found'
        raise RequestError(f"{who}: could not retrieve device class {class_name}: {missing}")
    chosen = (*_selectors(f"class {class_name}", found["spec"]), *_selectors(f"claim {_label(claim)}", body))
    admin = bool(body.get("adminAccess"))
    tolerations = body.get("tolerations") or ()
    capacity = (body.get("capacity") or {}).get("requests") or {}
    return Request(
        name,
        parent,
        found,
        chosen,
        0 if body.get("allocationMode") == "All" else int(body.get("count") or 1),
        admin,
        tolerations,
        capacity,
        (tuple(each.expression for each in chosen), admin, _encode([tolerations, capacity])),
    )


def _selectors(owner: str, holder: Obj) -> list[Selector]:
    return [
        Selector(f"{owner}: selector #{number}", each["cel"]["expression"])
        for number, each in enumerate(holder.get("selectors") or ())
    ]
