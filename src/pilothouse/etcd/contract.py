"""The contract of every store: etcd's data model, as https://etcd.io/docs/v3.6/learning/api/ defines it.

One revision counter for the whole store. A key remembers the revision that created it, the one that last
changed it, and how often it changed since (its version). Worked example:

    revision 2: put a=1    a: create 2, mod 2, version 1
    revision 3: put a=2    a: create 2, mod 3, version 2
    revision 4: delete a   a tombstone; range at revision 3 still finds a=2
    compact 4              revisions below 4 are gone; a range at 3 raises Compacted

A write is acknowledged (its coroutine returns) only after it is durable. Reads and watches see a write not
before it is durable either.

Errors:

    StoreError
    ├── Compacted          the revision asked for was compacted away
    ├── FutureRevision     the revision asked for does not exist yet
    ├── LeaseNotFound
    ├── LeaseExists
    ├── InvalidRequest     what can never be done (a duplicate key, no key): etcd's own words
    ├── StoreUnavailable   the write was refused: I/O error; reads still work
    │   ├── NoSpace        because the disk, or the quota, is full
    │   └── OutcomeUnknown nobody confirmed the write: it may be done, or still be done
    └── StoreClosed
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import Enum
from typing import NamedTuple, Protocol


class StoreError(Exception):
    """Base of all that a store refuses."""


class Compacted(StoreError):
    """The requested revision is below the compacted one (`compact_revision`)."""

    def __init__(self, compact_revision: int) -> None:
        super().__init__("etcdserver: mvcc: required revision has been compacted")
        self.compact_revision = compact_revision


class FutureRevision(StoreError):
    def __init__(self) -> None:
        super().__init__("etcdserver: mvcc: required revision is a future revision")


class LeaseNotFound(StoreError):
    def __init__(self) -> None:
        super().__init__("etcdserver: requested lease not found")


class LeaseExists(StoreError):
    def __init__(self) -> None:
        super().__init__("etcdserver: lease already exists")


class InvalidRequest(StoreError):
    """The request can never be done; the message is etcd's."""


class StoreUnavailable(StoreError):
    """A write was not done and will not appear later; the message says why and what to do."""


class OutcomeUnknown(StoreUnavailable):
    """The exception to that: the connection, the member or the time was lost while a write was on its way, so it may
    have been done. Whoever tries again must look first."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the outcome of the write is unknown, it may have been done or not: {reason}")
        self.reason = reason


class NoSpace(StoreUnavailable):
    def __init__(self, message: str = "etcdserver: mvcc: database space exceeded") -> None:
        super().__init__(message)


class StoreClosed(StoreError):
    def __init__(self) -> None:
        super().__init__("etcdserver: server stopped")


class KeyValue(NamedTuple):
    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class EventType(Enum):
    PUT = 0
    DELETE = 1


class Event(NamedTuple):
    """One change. For a DELETE, `kv` has the key and the deleting revision as mod_revision, version 0."""

    type: EventType
    kv: KeyValue
    prev: KeyValue | None = None


class RangeResult(NamedTuple):
    kvs: list[KeyValue]
    count: int  # type: ignore[assignment]
    """Keys in the range, whatever the limit."""
    revision: int
    """The store's revision when the read was done (the header's), not the one asked for."""
    more: bool = False


class Target(Enum):
    VERSION = 0
    CREATE = 1
    MOD = 2
    VALUE = 3
    LEASE = 4


class Compare(NamedTuple):
    """`key`'s target compared with `operand`; a missing key has version, revisions and lease 0.
    `op` is one of "=", "!=", ">", "<". With range_end every key of the range must hold."""

    key: bytes
    target: Target
    op: str
    operand: int | bytes
    range_end: bytes = b""


class Put(NamedTuple):
    key: bytes
    value: bytes
    lease: int = 0
    prev: bool = False
    ignore_value: bool = False
    ignore_lease: bool = False


class Delete(NamedTuple):
    key: bytes
    range_end: bytes = b""
    prev: bool = False


class Sort(NamedTuple):
    """How a range is ordered: by key, version, a revision or the value. `lease` is not a target."""

    target: Target | None = None
    """None: by key."""
    descending: bool = False


class Bounds(NamedTuple):
    """Which keys a range shows: those whose revisions lie between, both ends included; 0 is no bound."""

    min_mod: int = 0
    max_mod: int = 0
    min_create: int = 0
    max_create: int = 0


class Range(NamedTuple):
    """`range_end` b"" means the one key; b"\\0" means every key from `key` on. `revision` 0 means the
    newest. `sort` None is key order. `serializable` lets a member of a cluster answer from what it has, which may
    be old. `bounds` and `limit` choose what is shown, not what is counted."""

    key: bytes
    range_end: bytes = b""
    limit: int = 0
    revision: int = 0
    keys_only: bool = False
    count_only: bool = False
    sort: Sort | None = None
    bounds: Bounds | None = None
    serializable: bool = False


class Txn(NamedTuple):
    compare: Sequence[Compare]
    then: Sequence[Op]
    otherwise: Sequence[Op] = ()


Op = Put | Delete | Range | Txn


class PutResult(NamedTuple):
    revision: int
    prev: KeyValue | None = None


class DeleteResult(NamedTuple):
    revision: int
    deleted: int
    prev: list[KeyValue]


class TxnResult(NamedTuple):
    succeeded: bool
    revision: int
    results: list[PutResult | DeleteResult | RangeResult | TxnResult]


class LeaseStatus(NamedTuple):
    id: int
    granted_ttl_s: int
    ttl_s: int
    """Remaining seconds; -1 when expired or unknown."""
    keys: list[bytes]


class Watch(Protocol):
    """A stream of changes with no gap and no repeat, in revision order. All events of one revision come in
    one batch."""

    async def next(self) -> list[Event]:
        """The next batch, waiting for one; [] is a progress notice: `progress_revision` moved on.
        Raises Compacted if history was lost, StoreClosed after the store or the watch was closed."""

    def request_progress(self) -> None:
        """Have `next` say soon how far the watch has come, after what waits to be delivered."""

    @property
    def progress_revision(self) -> int:
        """Every event up to this revision was delivered."""

    def close(self) -> None: ...


API_VERSION = "3.6.0"
"""The etcd whose API is served: kube-apiserver trusts progress requests from here on."""


class Status(NamedTuple):
    """What a store says of itself; sizes in bytes. `errors` are alarms in words."""

    version: str
    db_size: int
    db_size_in_use: int
    errors: tuple[str, ...] = ()


class Hash(NamedTuple):
    """CRC-32C of the rows between the compacted revision and `revision`, as etcd's HashKV computes it."""

    hash: int
    revision: int
    compact_revision: int


class Maintenance(Protocol):
    """What an operator does with a store, beside using it."""

    async def status(self) -> Status: ...
    async def hash_kv(self, revision: int = 0) -> Hash:
        """Compacted / FutureRevision if out of bounds; 0 is the newest."""

    async def defragment(self) -> None:
        """Give free space back to the file system; writes wait meanwhile."""

    def snapshot(self) -> AsyncIterator[bytes]:
        """A consistent copy in etcd's own format (a bbolt database), without its checksum; writes go on."""

    async def record(self, name: str) -> bytes:
        """A small durable value beside the key space (users, alarms, the cluster's id); b"" if there is none.
        It has no revision and no watchers."""

    async def keep_record(self, name: str, value: bytes) -> None:
        """Durable when it returns; b"" removes it."""


class Backend(Protocol):
    """A store. Methods may be called from one event loop only."""

    async def range(self, op: Range) -> RangeResult: ...
    async def put(self, op: Put) -> PutResult: ...
    async def delete(self, op: Delete) -> DeleteResult: ...
    async def txn(self, txn: Txn) -> TxnResult:
        """All or nothing, in one revision (none if it writes nothing)."""

    def watch(
        self, key: bytes, range_end: bytes = b"", start_revision: int = 0, *, prev: bool = False
    ) -> Watch:
        """Changes of a key or range from `start_revision` on (0: from now on)."""

    async def compact(self, revision: int) -> None:
        """Forget what no read at `revision` or later can see. Compacted / FutureRevision if out of bounds."""

    async def lease_grant(self, ttl_s: int, lease_id: int = 0) -> LeaseStatus: ...
    async def lease_revoke(self, lease_id: int) -> None: ...
    async def lease_keep_alive(self, lease_id: int) -> LeaseStatus: ...
    async def lease_status(self, lease_id: int) -> LeaseStatus: ...
    async def leases(self) -> list[int]: ...

    @property
    def revision(self) -> int:
        """The newest durable revision; 1 when the store is new and empty."""

    @property
    def compact_revision(self) -> int: ...

    @property
    def shared(self) -> bool:
        """Whether others may write past this object: `revision` is then the newest that was heard of, no more."""

    async def health(self) -> str:
        """ "" when writes are accepted, else the reason why not."""

    async def close(self) -> None: ...


def prefix_end(prefix: bytes) -> bytes:
    """The range_end that makes a range of all keys with this prefix (clientv3.GetPrefixRangeEnd)."""
    for i in range(len(prefix) - 1, -1, -1):
        if prefix[i] < 0xFF:
            return prefix[:i] + bytes([prefix[i] + 1])
    return b"\0"
