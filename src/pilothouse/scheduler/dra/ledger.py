"""Which devices are taken: by claims as the API server has them, by those written a moment ago, and by those that a pod
on its way to a node gets (SharedDRAManager, assumecache).

    reserve ──▶ pending ──written──▶ assumed ──seen by the informer──▶ known
                   └──given up: as before
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pilothouse.api.resource_claims import allocation
from pilothouse.api.types import Obj
from pilothouse.client.informer import Handler, Informer, key_of
from pilothouse.scheduler.dra.allocator import Taken
from pilothouse.scheduler.dra.capacity import nano
from pilothouse.scheduler.dra.devices import Amounts, DeviceId


class _Use(NamedTuple):
    device: DeviceId
    share: Mapping[str, int] | None


class Ledger(Handler):
    """`changed` is told which devices were taken or came free."""

    def __init__(self, claims: Informer, changed: Callable[[Iterable[DeviceId]], None]) -> None:
        self._claims = claims
        self._changed = changed
        self._pending: dict[str, str] = {}
        """Claims whose allocation is on its way: their keys by UID."""
        self._assumed: dict[str, Obj] = {}
        """Claims as the API server answered, by key."""
        self._uses: dict[str, tuple[_Use, ...]] = {}
        self._devices: dict[DeviceId, int] = {}
        self._shares: dict[DeviceId, Amounts] = {}
        self._holders: dict[DeviceId, int] = {}
        self.taken = Taken(self._devices.keys(), self._shares, {})
        claims.add_handler(self)

    def get(self, key: str) -> Obj | None:
        """A claim's newest state that is known here."""
        assumed = self._assumed.get(key)
        return assumed if assumed is not None else self._claims.get(key)

    def is_pending(self, uid: str) -> bool:
        return uid in self._pending

    def reserve(self, claim: Obj, found: Obj) -> None:
        """An allocation that is about to be written."""
        uid = claim["metadata"]["uid"]
        self._pending[uid] = key_of(claim)
        self._count(uid, found)

    def release(self, uid: str) -> None:
        """It will not be written."""
        key = self._pending.pop(uid, None)
        if key is not None:
            now = self.get(key)
            self._count(uid, allocation(now) if now is not None and now["metadata"]["uid"] == uid else None)

    def written(self, claim: Obj, pending_uid: str = "") -> None:
        """The API server has it. `pending_uid` is what it was called here before it had a UID."""
        uid = claim["metadata"]["uid"]
        known = self._claims.get(key_of(claim))
        for each in {uid, pending_uid or uid}:
            self._pending.pop(each, None)
        if pending_uid and pending_uid != uid:
            self._count(pending_uid, None)
        if known is None and not pending_uid:
            self._count(uid, None)  # deleted meanwhile
            return
        if known is None or _version(known) < _version(claim):
            self._assumed[key_of(claim)] = claim
            self._count(uid, allocation(claim))
        else:
            self._count(uid, allocation(known))

    def on_add(self, obj: Obj) -> None:
        self._seen(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._seen(new)

    def on_delete(self, obj: Obj) -> None:
        self._assumed.pop(key_of(obj), None)
        self._count(obj["metadata"]["uid"], None)

    def _seen(self, claim: Obj) -> None:
        key, uid = key_of(claim), claim["metadata"]["uid"]
        assumed = self._assumed.get(key)
        if assumed is not None:
            if assumed["metadata"]["uid"] == uid and _version(claim) < _version(assumed):
                return
            del self._assumed[key]
        if uid not in self._pending:
            self._count(uid, allocation(claim))

    def _count(self, uid: str, found: Obj | None) -> None:
        """From now on a claim has this allocation."""
        before, after = self._uses.pop(uid, ()), _uses(found)
        if after:
            self._uses[uid] = after
        if before == after:
            return
        for use in before:
            self._add(use, -1)
        for use in after:
            self._add(use, 1)
        devices = {use.device for use in (*before, *after)}
        self.taken.forget(devices)
        self._changed(devices)

    def _add(self, use: _Use, sign: int) -> None:
        counts = self._devices if use.share is None else self._holders
        counts[use.device] = counts.get(use.device, 0) + sign
        if use.share is not None:
            shares = self._shares.setdefault(use.device, {})
            for name, value in use.share.items():
                shares[name] = shares.get(name, 0) + sign * value
        if not counts[use.device]:
            del counts[use.device]
            if use.share is not None:
                del self._shares[use.device]


def _uses(found: Obj | None) -> tuple[_Use, ...]:
    """Administrators' looks take nothing."""
    results = ((found or {}).get("devices") or {}).get("results") or ()
    return tuple(
        _Use(
            DeviceId(each["driver"], each["pool"], each["device"]),
            {name: nano(value) for name, value in (each.get("consumedCapacity") or {}).items()}
            if each.get("shareID")
            else None,
        )
        for each in results
        if not each.get("adminAccess")
    )


def _version(claim: Obj) -> int:
    return int(claim["metadata"]["resourceVersion"])
