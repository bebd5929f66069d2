"""Leases: keys that go away together when nobody keeps them alive. Pure: the time is handed in.

granted ──keep alive──▶ granted (full time again)
   └── time over, or revoked ──▶ ending (takes no keys) ──its keys are deleted──▶ gone
                                    └── the deletion was refused ──▶ granted
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pilothouse.etcd.contract import LeaseExists, LeaseNotFound, LeaseStatus


@dataclass(slots=True)
class _Lease:
    ttl_s: int
    expires_s: float
    keys: set[bytes] = field(default_factory=set)
    ending: bool = False


class Leases:
    """`now_s` is monotonic time."""

    def __init__(self) -> None:
        self._leases: dict[int, _Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def grant(self, lease_id: int, ttl_s: int, now_s: float) -> LeaseStatus:
        if lease_id in self._leases:
            raise LeaseExists
        self._leases[lease_id] = _Lease(ttl_s, now_s + ttl_s)
        return LeaseStatus(lease_id, ttl_s, ttl_s, [])

    def end(self, lease_id: int) -> set[bytes]:
        """Take no more keys; the keys that must be deleted."""
        lease = self._find(lease_id)
        lease.ending = True
        return set(lease.keys)

    def resume(self, lease_id: int) -> None:
        """The keys could not be deleted."""
        lease = self._leases.get(lease_id)
        if lease is not None:
            lease.ending = False

    def drop(self, lease_id: int) -> None:
        """Its keys are gone, and so is the lease."""
        self._leases.pop(lease_id, None)

    def keep_alive(self, lease_id: int, now_s: float) -> LeaseStatus:
        lease = self._find(lease_id)
        lease.expires_s = now_s + lease.ttl_s
        return LeaseStatus(lease_id, lease.ttl_s, lease.ttl_s, [])

    def status(self, lease_id: int, now_s: float) -> LeaseStatus:
        lease = self._leases.get(lease_id)
        if lease is None:
            return LeaseStatus(lease_id, 0, -1, [])
        return LeaseStatus(lease_id, lease.ttl_s, max(int(lease.expires_s - now_s), 0), sorted(lease.keys))

    def ids(self) -> list[int]:
        """Those that run out first come first, as etcd lists them."""
        return sorted(self._leases, key=lambda i: (self._leases[i].expires_s, i))

    def require(self, lease_id: int) -> None:
        """LeaseNotFound unless 0 or granted."""
        if lease_id:
            self._find(lease_id)

    def moved(self, key: bytes, old: int, new: int) -> None:
        """A key changed its lease (0: none)."""
        if old == new:
            return
        if old in self._leases:
            self._leases[old].keys.discard(key)
        if new in self._leases:
            self._leases[new].keys.add(key)

    def expired(self, now_s: float) -> list[int]:
        return [i for i, lease in self._leases.items() if lease.expires_s <= now_s and not lease.ending]

    def _find(self, lease_id: int) -> _Lease:
        lease = self._leases.get(lease_id)
        if lease is None or lease.ending:
            raise LeaseNotFound
        return lease
