"""A control plane's data from one store to another, key by key, over the contract: what the stores are does not matter.

    source at one revision ──pages──▶ transactions ──▶ target        state only: no history
    leases: the same ids where they are free, with the time that remains
    at the end: both are read again and compared; the source must not have moved

Keys have new revisions in the target. A store that begins above the source's revision (see `snapshots.store`) never
shows its clients an older one; a real etcd begins where it is, and its clients must list anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pilothouse.etcd.contract import (
    Backend,
    Bounds,
    Delete,
    KeyValue,
    LeaseExists,
    Put,
    Range,
    StoreError,
    Txn,
    prefix_end,
)

KUBERNETES_PREFIX = b"/registry/"

_PAGE_KEYS = 256
_BATCH_OPS = 100
"""etcd takes 128 operations in one transaction (--max-txn-ops)."""
_BATCH_BYTES = 1 << 20
"""And 1.5 MiB in one request (--max-request-bytes)."""
_NAMED = 3

Progress = Callable[[int], None]
"""Told how many keys are done."""


class MigrationFailed(StoreError):
    """The message says what is the matter, and what to do."""


class Span(NamedTuple):
    """The keys that are meant."""

    first: bytes
    end: bytes

    @staticmethod
    def of_prefix(prefix: bytes) -> Span:
        return Span(prefix, prefix_end(prefix)) if prefix else Span(b"\0", b"\0")


@dataclass(slots=True)
class Migration:
    """One copy. `prepare`, `copy`, `verify`, in this order."""

    source: Backend
    target: Backend
    span: Span = field(default_factory=lambda: Span.of_prefix(KUBERNETES_PREFIX))
    overwrite: bool = False
    total: int = 0
    revision: int = 0
    """The source's, which is copied."""
    leased: int = 0
    """Keys that have a lease, and may go at any time, on both sides."""
    _leases: dict[int, int] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Look at both sides. MigrationFailed when there is nothing to copy, or something in the way."""
        found = await self.source.range(Range(*self.span, count_only=True))
        self.total, self.revision = found.count, found.revision
        if not self.total:
            raise MigrationFailed(
                f"the source has no keys below {_shown(self.span)}: name another --prefix, or another source"
            )
        there = (await self.target.range(Range(*self.span, count_only=True))).count
        if there and not self.overwrite:
            raise MigrationFailed(
                f"the target has {there} keys below {_shown(self.span)}: give --overwrite to have them replaced, or "
                "choose an empty target"
            )
        if there:
            await self.target.delete(Delete(*self.span))

    async def copy(self, progress: Progress) -> None:
        done = 0
        batch: list[Put] = []
        size = 0
        async for kv in _scan(self.source, self.span, self.revision):
            put = Put(kv.key, kv.value, await self._lease(kv.lease))
            if batch and (len(batch) == _BATCH_OPS or size + len(kv.key) + len(kv.value) > _BATCH_BYTES):
                await self.target.txn(Txn((), batch))
                done += len(batch)
                progress(done)
                batch, size = [], 0
            batch.append(put)
            size += len(kv.key) + len(kv.value)
        if batch:
            await self.target.txn(Txn((), batch))
        progress(done + len(batch))

    async def _lease(self, source_id: int) -> int:
        """The target's lease for one of the source's, which is granted when the first of its keys comes."""
        if not source_id:
            return 0
        self.leased += 1
        known = self._leases.get(source_id)
        if known is None:
            remaining_s = max((await self.source.lease_status(source_id)).ttl_s, 1)
            try:
                known = (await self.target.lease_grant(remaining_s, source_id)).id
            except LeaseExists:
                known = (await self.target.lease_grant(remaining_s)).id
            self._leases[source_id] = known
        return known

    @property
    def leases(self) -> int:
        return len(self._leases)

    async def verify(self, progress: Progress) -> None:
        """Every key has its value in the target, and there is none beside. MigrationFailed."""
        differences = _Differences()
        theirs = _scan(self.target, self.span, 0)
        other = await anext(theirs, None)
        done = 0
        async for kv in _scan(self.source, self.span, self.revision):
            while other is not None and other.key < kv.key:
                differences.add("is in the target alone", other)
                other = await anext(theirs, None)
            if other is None or other.key != kv.key:
                if not kv.lease:
                    differences.add("is missing in the target", kv)
            else:
                if other.value != kv.value or bool(other.lease) != bool(kv.lease):
                    differences.add("has another value or lease in the target", kv)
                other = await anext(theirs, None)
            done += 1
            progress(done)
        while other is not None:
            differences.add("is in the target alone", other)
            other = await anext(theirs, None)
        differences.complain()
        await self._check_source()

    async def _check_source(self) -> None:
        """Whether the source was written to meanwhile, below the prefix."""
        changed = await self.source.range(
            Range(*self.span, limit=1, keys_only=True, bounds=Bounds(min_mod=self.revision + 1))
        )
        gone = self.total - changed.count
        if changed.kvs or not 0 <= gone <= self.leased:
            raise MigrationFailed(
                f"the source was written to meanwhile (it is at revision {changed.revision}, {self.revision} was "
                "copied): stop what writes to it, and migrate again with --overwrite"
            )


class _Differences:
    def __init__(self) -> None:
        self._named: list[str] = []
        self._count = 0

    def add(self, what: str, kv: KeyValue) -> None:
        self._count += 1
        if len(self._named) < _NAMED:
            self._named.append(f"{kv.key.decode(errors='backslashreplace')} {what}")

    def complain(self) -> None:
        if self._count:
            more = f" and {self._count - len(self._named)} more" if self._count > len(self._named) else ""
            raise MigrationFailed(
                f"the copy differs: {'; '.join(self._named)}{more}. Does somebody else write to the target? Migrate "
                "again with --overwrite"
            )


async def _scan(backend: Backend, span: Span, revision: int) -> AsyncIterator[KeyValue]:
    """All keys, page by page, at one revision (0: the newest when the scan begins)."""
    first = span.first
    while True:
        page = await backend.range(Range(first, span.end, limit=_PAGE_KEYS, revision=revision))
        revision = revision or page.revision
        for kv in page.kvs:
            yield kv
        if not page.more:
            return
        first = page.kvs[-1].key + b"\0"


def _shown(span: Span) -> str:
    return span.first.decode(errors="backslashreplace") if span.first != b"\0" else "the whole store"
