"""The watch cache against the obvious model: a list of everything that ever happened.

Whatever is written, compacted, watched from whatever revision and selected by whatever labels: a watch is told
exactly what the whole history says, in order, or that its revision is too old; a list at a revision shows that
moment, or says the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.errors import ApiError
from pilothouse.apiserver.storage import watch_cache
from pilothouse.apiserver.storage.item import Item
from pilothouse.apiserver.storage.watch_cache import Change, Predicate, Watcher
from pilothouse.kit.virtual_loop import run_virtual
from tests.unit.apiserver.storage.test_apiserver_storage_store import Room, labelled, pod

NAMESPACES = ("n1", "n2", "n1-not-a-part-of-n1")
NAMES = ("a", "b")
RING = 4


class Write(NamedTuple):
    """What happens to an object: it is made or changed (with this label), or goes if it is there."""

    namespace: str
    name: str
    label: str | None


class Compact(NamedTuple):
    """Everything but the last `keep` revisions is forgotten."""

    keep: int


class Observe(NamedTuple):
    """A watch is opened, so many revisions ago (negative: ahead)."""

    namespace: str
    selected: bool
    ago: int
    initial: bool


class Look(NamedTuple):
    """A list of so many revisions ago, in pages."""

    namespace: str
    selected: bool
    ago: int
    limit: int


class Seen(NamedTuple):
    type: str
    key: str
    revision: int
    label: str
    """Of the object as the event shows it."""


class Past(NamedTuple):
    revision: int
    key: str
    before: str | None
    after: str | None


@dataclass
class Watched:
    watcher: Watcher
    step: Observe
    expected_before: list[Seen]
    after: int
    may_be_too_old: bool
    seen: list[Seen] = field(default_factory=list)
    failed: bool = False


class Model:
    """Slow and obvious. Labels stand for whole objects; None is absence."""

    def __init__(self) -> None:
        self.history: list[Past] = []
        self.state: dict[str, str] = {}

    def write(self, revision: int, key: str, label: str | None) -> None:
        self.history.append(Past(revision, key, self.state.get(key), label))
        if label is None:
            del self.state[key]
        else:
            self.state[key] = label

    def at(self, revision: int, prefix: str, selected: bool) -> list[tuple[str, str]]:
        state: dict[str, str] = {}
        for past in self.history:
            if past.revision <= revision:
                state.pop(past.key, None)
                if past.after is not None:
                    state[past.key] = past.after
        return sorted((k, v) for k, v in state.items() if k.startswith(prefix) and (v == "1" or not selected))

    def since(self, revision: int, prefix: str, selected: bool) -> Iterator[Seen]:
        for past in self.history:
            if past.revision <= revision or not past.key.startswith(prefix):
                continue
            was = past.before is not None and (past.before == "1" or not selected)
            now = past.after is not None and (past.after == "1" or not selected)
            if now:
                assert past.after is not None
                yield Seen("MODIFIED" if was else "ADDED", past.key, past.revision, past.after)
            elif was:
                assert past.before is not None
                yield Seen("DELETED", past.key, past.revision, past.before)


def key(namespace: str, name: str) -> str:
    return f"/registry/pods/{namespace}/{name}"


def prefix(namespace: str) -> str:
    return f"/registry/pods/{namespace}/" if namespace else "/registry/pods/"


def seen(change: Change) -> Seen:
    assert change.item is not None
    label = change.item.decode()["metadata"]["labels"]["in"]
    assert change.item.revision == change.revision
    return Seen(change.type, change.item.key.decode(), change.revision, label)


def predicate(selected: bool) -> Predicate | None:
    return labelled if selected else None


class Run:
    """One sequence of steps, on a room and on the model."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._model = Model()
        self._watched: list[Watched] = []

    async def step(self, step: Any) -> None:
        await {Write: self._write, Compact: self._compact, Observe: self._observe, Look: self._look}[
            type(step)
        ](step)

    async def _write(self, step: Write) -> None:
        room, where = self._room, key(step.namespace, step.name)
        current = room.pods.get(where)
        if step.label is None:
            if current is None:
                return
            item: Item | None = await room.pods.delete(where, current)
        else:
            obj = pod(step.name, step.namespace, **{"in": step.label})
            if current is None:
                item = await room.pods.create(where, obj)
            else:
                item = await room.pods.replace(where, current, obj)
                if item is current:
                    return
        assert item is not None
        self._model.write(item.revision, where, step.label)

    async def _compact(self, step: Compact) -> None:
        revision = self._room.backend.revision - step.keep
        if revision > self._room.backend.compact_revision:
            await self._room.backend.compact(revision)

    async def _observe(self, step: Observe) -> None:
        now = self._room.cache.revision
        after = max(1, now - step.ago)
        if step.initial:
            after = min(after, now)
        compacted = self._room.backend.compact_revision
        watcher = await self._room.pods.watch(
            step.namespace, after, initial_events=step.initial, predicate=predicate(step.selected)
        )
        present = []
        if step.initial:
            at_now = self._model.at(now, prefix(step.namespace), step.selected)
            revisions = {past.key: past.revision for past in self._model.history}
            present = [Seen("ADDED", k, revisions[k], label) for k, label in at_now]
            after = now
        self._watched.append(Watched(watcher, step, present, after, after < compacted))

    async def _look(self, step: Look) -> None:
        revision = max(1, self._room.backend.revision - step.ago)
        found: list[Item] = []
        start = ""
        try:
            while True:
                page = await self._room.pods.list(
                    step.namespace,
                    revision=revision,
                    limit=step.limit,
                    start=start,
                    predicate=predicate(step.selected),
                )
                found += page.items
                start = page.next_start
                if not start:
                    break
        except ApiError as error:
            assert error.code == 410
            assert revision < self._room.backend.compact_revision
            return
        shown = [(i.key.decode(), i.decode()["metadata"]["labels"]["in"]) for i in found]
        assert shown == self._model.at(revision, prefix(step.namespace), step.selected)

    async def take(self) -> None:
        """Let every watcher take what waits for it."""
        for watched in self._watched:
            try:
                while batch := await watched.watcher.next(0.001):
                    watched.seen += [seen(c) for c in batch if c.item is not None]
            except ApiError as error:
                assert error.code == 410
                assert watched.may_be_too_old
                watched.failed = True

    async def finish(self) -> None:
        await self.take()
        for watched in self._watched:
            step = watched.step
            if watched.failed:
                assert not watched.seen
                continue
            expected = watched.expected_before + list(
                self._model.since(watched.after, prefix(step.namespace), step.selected)
            )
            assert watched.seen == expected
            assert watched.watcher.revision >= self._room.cache.revision


_WRITES = st.builds(
    Write, st.sampled_from(NAMESPACES), st.sampled_from(NAMES), st.sampled_from(("0", "1", "1", None))
)
_WHERE = st.sampled_from(("", *NAMESPACES))
_OBSERVE = st.builds(
    Observe, _WHERE, st.booleans(), st.integers(-3, 14), st.sampled_from((False, False, True))
)
_LOOK = st.builds(Look, _WHERE, st.booleans(), st.integers(0, 10), st.integers(0, 3))
_ROUNDS = st.lists(
    st.tuples(
        st.lists(_WRITES, min_size=4, max_size=12),
        st.one_of(st.none(), st.none(), st.builds(Compact, st.integers(0, 12))),
        st.lists(_OBSERVE, min_size=1, max_size=3),
        st.one_of(st.none(), _LOOK),
    ),
    min_size=3,
    max_size=7,
)
"""Some writes, now and then a compaction, new watches, a list; at None the watchers take what they have."""


@settings(max_examples=150, deadline=None)
@given(_ROUNDS)
def test_the_cache_tells_what_happened(rounds: list[tuple[Any, ...]]) -> None:
    async def main() -> None:
        room = Room()
        await room.open()
        try:
            run = Run(room)
            for writes, compact, observe, look in rounds:
                for step in (*writes, compact, *observe, look):
                    await (run.step(step) if step is not None else run.take())
            await run.finish()
        finally:
            await room.close()
        await asyncio.sleep(0)

    ring, watch_cache.RING_MAX = watch_cache.RING_MAX, RING
    try:
        run_virtual(main())
    finally:
        watch_cache.RING_MAX = ring
