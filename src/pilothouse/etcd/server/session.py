"""What locks and elections are made of: keys below a name that live with a lease, in the order of their creation.

    name/3ab1   create 5   holds the lock, or leads
    name/77c0   create 8   waits until name/3ab1 is deleted
    name/90f2   create 9   waits until name/77c0 is deleted, then looks again who is before it

(etcd client/v3/concurrency: session.go, key.go)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pilothouse.etcd.contract import (
    Backend,
    Bounds,
    Compacted,
    Delete,
    EventType,
    KeyValue,
    LeaseNotFound,
    Range,
    RangeResult,
    Sort,
    Target,
    prefix_end,
)

_TTL_S = 60


async def session(backend: Backend, lease: int) -> int:
    """The lease of a caller: kept alive once more, or a new one for 0. A lease that there is not is found out when a
    key is put with it."""
    if not lease:
        return (await backend.lease_grant(_TTL_S)).id
    with contextlib.suppress(LeaseNotFound):
        await backend.lease_keep_alive(lease)
    return lease


def prefix_of(name: bytes) -> bytes:
    return name + b"/"


def key_of(name: bytes, lease: int) -> bytes:
    return prefix_of(name) + b"%x" % lease


def first_created(prefix: bytes) -> Range:
    """The key that holds the lock."""
    return Range(prefix, prefix_end(prefix), limit=1, sort=Sort(Target.CREATE))


async def holder(backend: Backend, prefix: bytes) -> RangeResult:
    return await backend.range(first_created(prefix))


@contextlib.asynccontextmanager
async def queued(backend: Backend, key: bytes) -> AsyncIterator[None]:
    """Who is cancelled inside leaves the queue, unless he was in it before: then another call of his waits there, or
    holds what it waited for."""
    before = bool((await backend.range(Range(key))).kvs)
    try:
        yield
    except asyncio.CancelledError:
        if not before:
            await backend.delete(Delete(key))
        raise


async def wait_for_turn(backend: Backend, prefix: bytes, create_revision: int) -> None:
    """Until no key of the prefix is older than the one created at this revision."""
    older = Range(
        prefix,
        prefix_end(prefix),
        limit=1,
        sort=Sort(Target.CREATE, descending=True),
        bounds=Bounds(max_create=create_revision - 1),
    )
    while True:
        found = await backend.range(older)
        if not found.kvs:
            return
        await _wait_for_deletion(backend, found.kvs[0], found.revision)


async def _wait_for_deletion(backend: Backend, kv: KeyValue, revision: int) -> None:
    """Returns too when the history was compacted: the caller looks again."""
    watch = backend.watch(kv.key, start_revision=revision)
    try:
        while True:
            if any(event.type is EventType.DELETE for event in await watch.next()):
                return
    except Compacted:
        return
    finally:
        watch.close()
