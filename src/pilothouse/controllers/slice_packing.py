"""How endpoints are spread over slices so that few slices change (k8s.io/endpointslice reconcileByPortMapping).

    1. endpoints that are no longer wanted leave their slices; those that changed are changed where they are
    2. new ones fill up the slices that change anyway, the fullest first
    3. the rest goes into one unchanged slice that has room for all of it, else into new slices

Worked example, slices of 3: `a b c | d e` and wanted is `a b d e f g`. c leaves the first slice, which takes f; g
fits into the second. No third slice is made, and nothing moved.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from pilothouse.api.types import Obj


@dataclass(slots=True)
class Packed:
    """What is to be done with the slices of one set of ports."""

    create: list[list[Obj]] = field(default_factory=list)
    update: list[tuple[Obj, list[Obj]]] = field(default_factory=list)
    """Slice and new endpoints."""
    delete: list[Obj] = field(default_factory=list)
    keep: list[Obj] = field(default_factory=list)


@dataclass(slots=True)
class _Slice:
    found: Obj
    endpoints: list[Obj]
    changed: bool


def pack(present: Iterable[Obj], wanted: Iterable[Obj], most: int) -> Packed:
    """`most` endpoints go into one slice."""
    left = {identity(endpoint): endpoint for endpoint in wanted}
    slices = [_kept(found, left) for found in present]
    done = Packed(delete=[s.found for s in slices if s.changed and not s.endpoints])
    slices = [s for s in slices if s.endpoints or not s.changed]
    new = list(left.values())
    for one in sorted((s for s in slices if s.changed), key=lambda s: -len(s.endpoints)):
        room = max(most - len(one.endpoints), 0)
        one.endpoints, new = one.endpoints + new[:room], new[room:]
    while new:
        roomy = [s for s in slices if not s.changed and len(s.endpoints) + len(new) <= most]
        if roomy:
            fullest = max(roomy, key=lambda s: len(s.endpoints))
            fullest.endpoints, fullest.changed, new = fullest.endpoints + new, True, []
        else:
            done.create.append(new[:most])
            new = new[most:]
    done.update = [(s.found, s.endpoints) for s in slices if s.changed]
    done.keep = [s.found for s in slices if not s.changed]
    return done


def identity(endpoint: Obj) -> Hashable:
    """What makes an endpoint the same one, whatever its conditions."""
    target = endpoint.get("targetRef") or {}
    return (
        tuple(sorted(endpoint["addresses"])),
        endpoint.get("hostname", ""),
        target.get("namespace", ""),
        target.get("name", ""),
        target.get("uid", ""),
    )


def _kept(found: Obj, left: dict[Hashable, Obj]) -> _Slice:
    """A slice with those of its endpoints that are wanted; what it has is taken from `left`."""
    before = found.get("endpoints") or []
    endpoints = [left.pop(key) for key in map(identity, before) if key in left]
    return _Slice(found, endpoints, endpoints != before)
