"""The search for devices (k8s.io/dynamic-resource-allocation/structured, allocateOne).

Claim after claim, request after request, device after device: each candidate is taken if it may be, the rest is tried
with it, and if that fails it is given back and the next one is tried. The first full answer counts. So every answer
would be found; within one request devices are tried in their order only, as two orders of the same devices are one
answer.

    claim 1            claim 2
    ├ a: gpu ×2        └ c: nic        [gpu-0, gpu-1 | nic-0] ✗  [gpu-0, gpu-1 | nic-1] ✗  [gpu-0, gpu-2 | nic-0] ✓
    └ constraint…

Pure: what is taken, and which devices a node can reach, is given; nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from pilothouse.api.types import Obj
from pilothouse.scheduler.dra import capacity, selectors
from pilothouse.scheduler.dra.devices import (
    Amounts,
    Device,
    DeviceId,
    Pool,
    PoolId,
    consumption,
    left_over,
)
from pilothouse.scheduler.dra.requests import Request, RequestError, Wanted

RESULTS_MAX = 32
INVALID_POOLS = "invalid resource pools were encountered"
_LOOKS_BETWEEN_CLOCKS = 256


class NotOnThisNode(Exception):
    """No answer here, for a reason that is worth telling."""


class TimedOut(Exception):
    """It took too long."""


class _TooMany(Exception):
    """A claim would get more devices than fit into its status: other devices would not help, fewer might."""


class Usable(NamedTuple):
    """A pool's devices that could be had if nothing else was asked for, by `Request.key`."""

    pool: Pool
    found: dict[Hashable, list[Device]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What others have: whole devices, and of shared ones how much of each capacity."""

    devices: Collection[DeviceId] = frozenset()
    shares: Mapping[DeviceId, Mapping[str, int]] = field(default_factory=dict)
    usable: dict[PoolId, Usable] | None = None
    """Of pools, until one of their devices is taken or comes free; None when nobody says when that is."""

    def forget(self, devices: Iterable[DeviceId]) -> None:
        """Those were taken or came free."""
        for device in devices:
            (self.usable or {}).pop(device.of, None)


class Grant(NamedTuple):
    """A device for a request; `share` is what it takes of one that others may have too."""

    request: Request
    device: Device
    share: Mapping[str, int] | None = None


Reach = Sequence[tuple[Pool, list[Device]]]
"""Pools with the devices that a node can reach (`devices.pools_on`)."""
Late = Callable[[], bool]


def allocate(
    claims: Sequence[Wanted], reach: Reach, taken: Taken, late: Late = lambda: False
) -> list[list[Grant]] | None:
    """Devices for each claim; None when there are none. `late` is asked now and then whether time is up. RequestError,
    NotOnThisNode, TimedOut."""
    search = _Search(claims, reach, taken, late)
    if search.run():
        return search.grants
    if any(pool.invalid for pool, _ in reach):
        raise NotOnThisNode(INVALID_POOLS)
    return None


class _Search:
    def __init__(self, claims: Sequence[Wanted], reach: Reach, taken: Taken, late: Late) -> None:
        self._claims = claims
        self._taken = taken
        self._late = late
        self._looks = 0
        self._pools = {pool.id: pool for pool, _ in reach}
        self._reach = [(pool, devices) for pool, devices in reach if not (pool.incomplete or pool.invalid)]
        self._candidates: dict[Request, _Candidates] = {}
        self._constraints = [_constraints(wanted) for wanted in claims]
        self._all = {
            request: self._every(wanted, request, reach)
            for wanted in claims
            for alternatives in wanted.requests
            for request in alternatives
            if not request.count
        }
        self._held: dict[DeviceId, set[int]] = {}
        """Devices by the claims that get them in this search."""
        self._shares: dict[DeviceId, Amounts] = {}
        self._counters: dict[PoolId, dict[str, Amounts]] = {}
        self.grants: list[list[Grant]] = [[] for _ in claims]

    def _every(self, wanted: Wanted, request: Request, reach: Reach) -> list[Device]:
        """All that a request for all devices means. Where that is not known yet, no node may guess."""
        found: list[Device] = []
        for pool, devices in reach:
            for is_so, state in ((pool.incomplete, "being updated"), (pool.invalid, "invalid")):
                if is_so:
                    raise RequestError(
                        f"claim {wanted.label}, request {request.name}: asks for all devices, but resource pool "
                        f"{pool.id} is currently {state}"
                    )
            found += [
                device
                for device in devices
                if request.selects(device) and capacity.share(device, request.capacity) is not None
            ]
        return found

    def run(self) -> bool:
        for wanted in self._claims:
            least = sum(min(self._size(r) for r in alternatives) for alternatives in wanted.requests)
            if least > RESULTS_MAX:
                raise RequestError(
                    f"claim {wanted.label}: number of requested devices {least} exceeds the claim limit of "
                    f"{RESULTS_MAX}"
                )
        try:
            return self._from_claim(0)
        except _TooMany:
            return False

    def _size(self, request: Request) -> int:
        return request.count or len(self._all[request])

    def _from_claim(self, claim: int) -> bool:
        return claim == len(self._claims) or self._from_request(claim, 0)

    def _from_request(self, claim: int, number: int) -> bool:
        requests = self._claims[claim].requests
        if number == len(requests):
            try:
                return self._from_claim(claim + 1)
            except _TooMany:
                return False
        alternatives = requests[number]
        if not alternatives[0].parent:
            return self._from_device(claim, number, alternatives[0], 0, _START)
        too_many = 0
        for request in alternatives:
            try:
                if self._from_device(claim, number, request, 0, _START):
                    return True
            except _TooMany:
                too_many += 1
        if too_many == len(alternatives):
            raise _TooMany
        return False

    def _from_device(self, claim: int, number: int, request: Request, have: int, start: Place) -> bool:
        """`have` devices of the request are there; the next one comes after `start`."""
        size = self._size(request)
        if not size:
            return False
        if have == size:
            return self._from_request(claim, number + 1)
        if len(self.grants[claim]) + size - have > RESULTS_MAX:
            raise _TooMany
        if not request.count:
            every = self._all[request][have]
            return self._with(claim, number, request, have, _START, every, must=True)
        failed: set[str] = set()
        candidates = self._candidates.get(request)
        if candidates is None:
            candidates = self._candidates[request] = _Candidates(self._reach, partial(self._usable, request))
        pins = self._pins(claim, request)
        place = start
        while (following := candidates.after(place, pins)) is not None:
            place, device = following
            if pins and any(selectors.attribute(device, pin.attribute) != pin.value for pin in pins):
                continue
            if not self._is_free(claim, request, device) or not request.selects(device):
                continue
            if failed and device.kind in failed:
                continue  # as good as one that has failed here: exchanging the two changes nothing
            if self._with(claim, number, request, have, place, device):
                return True
            if not device.shareable:
                failed.add(device.kind)
        return False

    def _pins(self, claim: int, request: Request) -> tuple[_Pin, ...]:
        """Attributes whose values the devices granted so far leave no choice of."""
        found = []
        for constraint in self._constraints[claim]:
            if constraint.distinct or not constraint.applies(request):
                continue
            first = next((g for g in self.grants[claim] if constraint.applies(g.request)), None)
            value = None if first is None else selectors.attribute(first.device, constraint.attribute)
            if value is not None:
                found.append(_Pin(constraint.attribute, value))
        return tuple(found)

    def _usable(self, request: Request, pool: Pool, devices: list[Device]) -> list[Device]:
        """Those of a pool that this request could have if it was alone. What else is asked for only takes away, so
        that the others need not be tried. All of them where an expression fails: only a device that is really tried
        may say so."""
        known = self._taken.usable
        if known is None or request.admin or devices is not pool.devices:
            return devices
        entry = known.get(pool.id)
        if entry is None or entry.pool is not pool:
            entry = known[pool.id] = Usable(pool, {})
        found = entry.found.get(request.key)
        if found is None:
            try:
                found = [device for device in devices if self._is_usable(request, device)]
            except RequestError:
                found = devices
            entry.found[request.key] = found
        return found

    def _is_usable(self, request: Request, device: Device) -> bool:
        taken = self._taken
        if device.id in taken.devices or not request.selects(device) or not request.tolerates(device):
            return False
        used = taken.shares.get(device.id, {}) if device.shareable else {}
        if capacity.share(device, request.capacity, used) is None:
            return False
        if not device.counters or device.id in taken.shares:
            return True
        rest = self._left(device.id.of)
        return all(rest[counters].get(name, 0) >= value for counters, name, value in consumption(device))

    def _with(
        self,
        claim: int,
        number: int,
        request: Request,
        have: int,
        start: Place,
        device: Device,
        *,
        must: bool = False,
    ) -> bool:
        """Whether it goes with this device; if not it is given back."""
        self._look_at_the_clock()
        if not self._take(claim, request, device, must):
            return False
        done = False
        try:
            done = self._from_device(claim, number, request, have + 1, start)
        finally:
            if not done:
                self._give_back(claim)
        return done

    def _look_at_the_clock(self) -> None:
        self._looks += 1
        if self._looks % _LOOKS_BETWEEN_CLOCKS == 0 and self._late():
            raise TimedOut

    def _is_free(self, claim: int, request: Request, device: Device) -> bool:
        """An administrator's look takes nothing from anybody, but one claim gets a device once."""
        holders = self._held.get(device.id, ())
        if request.admin:
            return claim not in holders
        return not holders and device.id not in self._taken.devices

    def _take(self, claim: int, request: Request, device: Device, must: bool) -> bool:
        if not self._is_free(claim, request, device) or not request.tolerates(device):
            return False
        share = capacity.share(device, request.capacity, self._used(device) if device.shareable else {})
        if share is None or not self._counters_allow(device):
            return False
        for constraint in self._constraints[claim]:
            if not constraint.allows(self.grants[claim], request, device):
                if must:
                    raise RequestError(
                        f"claim {self._claims[claim].label}, request {request.name}: cannot add device {device.id} "
                        "because a claim constraint would not be satisfied"
                    )
                return False
        self._note(claim, Grant(request, device, share if device.shareable else None), 1)
        self.grants[claim].append(Grant(request, device, share if device.shareable else None))
        return True

    def _give_back(self, claim: int) -> None:
        self._note(claim, self.grants[claim].pop(), -1)

    def _note(self, claim: int, grant: Grant, sign: int) -> None:
        device = grant.device
        first = self._is_first_share(device)
        if grant.share is None:
            holders = self._held.setdefault(device.id, set())
            (holders.add if sign > 0 else holders.discard)(claim)
        else:
            self._add_share(device, grant.share, sign)
            first = first if sign > 0 else self._is_first_share(device)
        if device.counters and first:
            rest = self._rest(device)
            for counters, name, value in consumption(device):
                rest[counters][name] -= sign * value

    def _add_share(self, device: Device, share: Mapping[str, int], sign: int) -> None:
        """A share of nothing counts as one too: "" is how many there are."""
        shares = self._shares.setdefault(device.id, {"": 0})
        shares[""] += sign
        for name, value in share.items():
            shares[name] = shares.get(name, 0) + sign * value
        if not shares[""]:
            del self._shares[device.id]

    def _used(self, device: Device) -> Amounts:
        used = dict(self._taken.shares.get(device.id, {}))
        for name, value in self._shares.get(device.id, {}).items():
            used[name] = used.get(name, 0) + value
        return used

    def _is_first_share(self, device: Device) -> bool:
        """Whether a device's counters are still to be counted: once for all its shares."""
        return device.id not in self._shares and device.id not in self._taken.shares

    def _counters_allow(self, device: Device) -> bool:
        if not device.counters or not self._is_first_share(device):
            return True
        rest = self._rest(device)
        return all(rest[counters].get(name, 0) >= value for counters, name, value in consumption(device))

    def _rest(self, device: Device) -> dict[str, Amounts]:
        """What is left of the counters of a device's pool, also by devices that this node cannot reach."""
        id = device.id.of
        found = self._counters.get(id)
        if found is None:
            found = self._counters[id] = self._left(id)
        return found

    def _left(self, id: PoolId) -> dict[str, Amounts]:
        """What others leave of a pool's counters."""
        pool, taken = self._pools[id], self._taken
        return left_over(pool, [d for d in pool.devices if d.id in taken.devices or d.id in taken.shares])


class _Pin(NamedTuple):
    attribute: str
    value: tuple[str, object]


Place = tuple[int, int]
"""A pool's number and a device's in what is usable of it."""
_START: Place = (0, -1)


class _Candidates:
    """Devices in their order, looked for pool by pool as they are asked for."""

    def __init__(self, reach: Reach, usable: Callable[[Pool, list[Device]], list[Device]]) -> None:
        self._reach = reach
        self._usable = usable
        self._found: list[list[Device] | None] = [None] * len(reach)

    def after(self, place: Place, pins: Sequence[_Pin]) -> tuple[Place, Device] | None:
        """The next one; with pins in a pool that has a device with every value."""
        number, at = place[0], place[1] + 1
        reach, found = self._reach, self._found
        while number < len(reach):
            pool = reach[number][0]
            if not pins or all(pin.value in _values(pool, pin.attribute) for pin in pins):
                devices = found[number]
                if devices is None:
                    devices = found[number] = self._usable(*reach[number])
                if at < len(devices):
                    return (number, at), devices[at]
            number, at = number + 1, 0
        return None


def _values(pool: Pool, attribute: str) -> frozenset[tuple[str, object] | None]:
    """All values that a pool's devices have of an attribute."""
    found = pool.values.get(attribute)
    if found is None:
        found = frozenset(selectors.attribute(device, attribute) for device in pool.devices)
        pool.values[attribute] = found
    return found


class _Constraint(NamedTuple):
    """All devices of some requests (none named: of all) have the same value of an attribute, or all different ones.
    Those that do not have it at all are out."""

    requests: frozenset[str]
    attribute: str
    distinct: bool

    def applies(self, request: Request) -> bool:
        return not self.requests or not self.requests.isdisjoint(
            (request.parent or request.name, request.full_name)
        )

    def allows(self, granted: Sequence[Grant], request: Request, device: Device) -> bool:
        if not self.applies(request):
            return True
        value = selectors.attribute(device, self.attribute)
        if value is None:
            return False
        others = (selectors.attribute(g.device, self.attribute) for g in granted if self.applies(g.request))
        return all((other != value) if self.distinct else (other == value) for other in others)


def _constraints(wanted: Wanted) -> list[_Constraint]:
    found = []
    for number, raw in enumerate(wanted.claim["spec"]["devices"].get("constraints") or ()):
        found.append(_constraint(wanted, number, raw))
    return found


def _constraint(wanted: Wanted, number: int, raw: Obj) -> _Constraint:
    for key, distinct in (("matchAttribute", False), ("distinctAttribute", True)):
        if raw.get(key):
            return _Constraint(frozenset(raw.get("requests") or ()), raw[key], distinct)
    raise RequestError(
        f"claim {wanted.label}, constraint #{number}: empty constraint (unsupported constraint type?)"
    )
