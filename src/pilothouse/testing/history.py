"""Judges what concurrent clients of a store saw: whether one store, doing one thing after another, can explain it.

What is recorded, and what must hold (the guarantees of https://etcd.io/docs/v3.6/learning/api_guarantees/, as etcd's
own robustness tests hold them):

    operations   There is an order of them all, in which each takes effect between its call and its return, that gives
                 every answer (linearizability; Wing and Gong's search with Lowe's memory of where it has been). Keys
                 are searched one by one, for a history is linearizable if each key's part of it is (Herlihy and Wing).
    revisions    Acknowledged writes have revisions of their own, and one that began after another had returned has
                 the higher one; a read's revision is not below those that were acknowledged before it began.
    watches      Events come in order, each once, all of those that were acknowledged, with what was written; nothing
                 at or below a progress notice comes after it.

An operation whose outcome is unknown has no return: it may take effect at any time after its call, or never.

    history = History()
    call = history.call(clock(), "c1", Write(b"k", b"1"))
    …
    history.done(call, clock(), Answer(revision))
    assert history.violations() == []
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Write(NamedTuple):
    """`value` None deletes."""

    key: bytes
    value: bytes | None


class Read(NamedTuple):
    key: bytes


class Swap(NamedTuple):
    """Write if the key was last changed at `expected` (0: if it does not exist)."""

    key: bytes
    expected: int
    value: bytes | None


Request = Write | Read | Swap


class Answer(NamedTuple):
    """`revision`: of the write, or the store's when nothing was written. `succeeded` is False for a swap that was
    refused and a deletion that found nothing. `mod_revision` and `value` are what a read found (0 and None: nothing).
    """

    revision: int
    succeeded: bool = True
    value: bytes | None = None
    mod_revision: int = 0


@dataclass(slots=True, eq=False)
class Operation:
    """`returned_s` None: the outcome is unknown."""

    client: str
    request: Request
    called_s: float
    returned_s: float | None = None
    answer: Answer | None = None

    @property
    def wrote(self) -> bool:
        """Acknowledged, and it changed something."""
        return self.answer is not None and self.answer.succeeded and not isinstance(self.request, Read)


class Seen(NamedTuple):
    """An event of a watch."""

    key: bytes
    value: bytes | None
    revision: int


@dataclass
class Watched:
    """What one watch of `prefix` was told from `first_revision` on: batches of events, and notices of progress."""

    name: str
    prefix: bytes
    first_revision: int
    told: list[list[Seen] | int] = field(default_factory=list)

    def events(self, batch: Sequence[Seen]) -> None:
        self.told.append(list(batch))

    def progress(self, revision: int) -> None:
        self.told.append(revision)


class History:
    """Times are of one monotonic clock."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.watches: list[Watched] = []

    def call(self, now_s: float, client: str, request: Request) -> Operation:
        operation = Operation(client, request, now_s)
        self.operations.append(operation)
        return operation

    def done(self, operation: Operation, now_s: float, answer: Answer) -> None:
        operation.returned_s, operation.answer = now_s, answer

    def refused(self, operation: Operation) -> None:
        """It certainly was not done, and never will be."""
        self.operations.remove(operation)

    def watch(self, name: str, prefix: bytes, first_revision: int) -> Watched:
        watched = Watched(name, prefix, first_revision)
        self.watches.append(watched)
        return watched

    def violations(self) -> list[str]:
        """What no store could have answered, in words; [] if one can."""
        return [
            *revision_violations(self.operations),
            *linearizability_violations(self.operations),
            *(text for watched in self.watches for text in watch_violations(watched, self.operations)),
        ]


# -- revisions ------------------------------------------------------------------------------------------------


def revision_violations(operations: Iterable[Operation]) -> list[str]:
    answered = [op for op in operations if op.answer is not None]
    return [*_shared_revisions(answered), *_revisions_that_go_back(answered)]


def _shared_revisions(answered: list[Operation]) -> list[str]:
    by_revision: dict[int, Operation] = {}
    found = []
    for op in answered:
        assert op.answer is not None
        if not op.wrote:
            continue
        other = by_revision.setdefault(op.answer.revision, op)
        if other is not op:
            found.append(f"two writes have revision {op.answer.revision}: {_text(other)} and {_text(op)}")
    return found


def _revisions_that_go_back(answered: list[Operation]) -> list[str]:
    """Whoever begins after an answer is at its revision at least, and a write above it."""
    moments: list[tuple[float, int, Operation]] = []
    for op in answered:
        assert op.returned_s is not None
        moments += [(op.called_s, 0, op), (op.returned_s, 1, op)]
    moments.sort(key=lambda moment: moment[:2])
    known, known_by = 0, ""
    floors: dict[int, tuple[int, str]] = {}
    found = []
    for _, is_return, op in moments:
        assert op.answer is not None
        revision = op.answer.revision
        if not is_return:
            floors[id(op)] = (known, known_by)
            continue
        floor, whose = floors.get(id(op), (0, ""))
        if revision < floor or (op.wrote and revision == floor):
            found.append(f"{_text(op)} went back: it began after revision {floor} was known by {whose}")
        if revision > known:
            known, known_by = revision, _text(op)
    return found


# -- linearizability ------------------------------------------------------------------------------------------


class _Register(NamedTuple):
    """One key. `revision` 0: it does not exist."""

    value: bytes | None = None
    revision: int = 0


def linearizability_violations(operations: Iterable[Operation]) -> list[str]:
    by_key: dict[bytes, list[Operation]] = defaultdict(list)
    for op in operations:
        by_key[op.request.key].append(op)
    return [text for key in sorted(by_key) for text in _search(key, by_key[key])]


_UNKNOWN_REVISION = -1


def _step(state: _Register, op: Operation) -> _Register | None:
    """The key after the operation; None if its answer cannot be."""
    request, answer = op.request, op.answer
    if isinstance(request, Read):
        if answer is None:
            return state
        same = answer.value == state.value and _same_revision(answer.mod_revision, state.revision)
        return _Register(state.value, answer.mod_revision) if same else None
    if isinstance(request, Swap):
        holds = _same_revision(request.expected, state.revision)
        certain = state.revision != _UNKNOWN_REVISION or request.expected == 0
        if answer is not None and certain and answer.succeeded is not holds:
            return None
        if not (holds if answer is None else answer.succeeded):
            return state
    elif answer is not None and request.value is None and answer.succeeded is not (state.revision != 0):
        return None
    if request.value is None:
        return _Register()
    return _Register(request.value, answer.revision if answer is not None else _UNKNOWN_REVISION)


def _same_revision(told: int, revision: int) -> bool:
    """A write that nobody acknowledged has a revision that nobody knows, but it has one."""
    return told > 0 if revision == _UNKNOWN_REVISION else told == revision


class _Node:
    """A call or a return, in a list by time from which operations are taken and put back."""

    __slots__ = ("is_call", "next", "number", "op", "previous", "returns")

    def __init__(self, op: Operation, number: int, *, is_call: bool) -> None:
        self.op = op
        self.number = number
        self.is_call = is_call
        self.returns: _Node | None = None
        self.previous: _Node | None = None
        self.next: _Node | None = None

    def take(self) -> None:
        assert self.previous is not None
        self.previous.next = self.next
        if self.next is not None:
            self.next.previous = self.previous

    def put_back(self) -> None:
        assert self.previous is not None
        self.previous.next = self
        if self.next is not None:
            self.next.previous = self


def _entries(operations: list[Operation]) -> _Node:
    """The head of the list. Operations of unknown outcome return at the end of time."""
    timed: list[tuple[float, int, _Node]] = []
    for number, op in enumerate(operations):
        call, returned = _Node(op, number, is_call=True), _Node(op, number, is_call=False)
        call.returns = returned
        end = op.returned_s if op.returned_s is not None else float("inf")
        timed += [(op.called_s, 0, call), (end, 1, returned)]
    timed.sort(key=lambda entry: entry[:2])
    head = last = _Node(operations[0], -1, is_call=False)
    for _, _, node in timed:
        last.next, node.previous = node, last
        last = node
    return head


def _search(key: bytes, operations: list[Operation]) -> list[str]:
    """Wing and Gong: take any operation that had begun before the first return, if its answer fits, and go on; at a
    return that nothing was taken for, undo the last choice. Lowe: no same set with the same state twice."""
    head = _entries(operations)
    state, done = _Register(), 0
    been: set[tuple[int, _Register]] = set()
    chosen: list[tuple[_Node, _Register]] = []
    best: tuple[int, Operation | None] = (0, None)
    node = head.next
    while node is not None and (node.is_call or node.op.answer is not None):
        after = _step(state, node.op) if node.is_call else None
        if node.is_call:
            mark = (done | 1 << node.number, after)
            if after is None or mark in been:
                node = node.next
                continue
            been.add((mark[0], after))
            chosen.append((node, state))
            state, done = after, mark[0]
            _take_both(node)
            node = head.next
            continue
        if len(chosen) >= best[0]:
            best = (len(chosen), node.op)
        if not chosen:
            return [_unexplained(key, best)]
        node, state = chosen.pop()
        done &= ~(1 << node.number)
        _put_both_back(node)
        node = node.next
    return []


def _take_both(call: _Node) -> None:
    assert call.returns is not None
    call.take()
    call.returns.take()


def _put_both_back(call: _Node) -> None:
    assert call.returns is not None
    call.returns.put_back()
    call.put_back()


def _unexplained(key: bytes, best: tuple[int, Operation | None]) -> str:
    stuck = f", at the latest by {_text(best[1])}" if best[1] is not None else ""
    return f"no order of operations explains what was answered about {key!r}{stuck}"


# -- watches --------------------------------------------------------------------------------------------------


def watch_violations(watched: Watched, operations: Iterable[Operation]) -> list[str]:
    return [*_disorder(watched), *_misses(watched, operations)]


def _disorder(watched: Watched) -> list[str]:
    """Out of order, twice, torn apart, or after it was said that all had come."""
    found = []
    last, notice = watched.first_revision - 1, 0
    seen: set[tuple[bytes, int]] = set()
    for told in watched.told:
        if isinstance(told, int):
            if told < notice:
                found.append(f"{watched.name}: progress went back from {notice} to {told}")
            notice = max(notice, told)
            continue
        if told and told[0].revision == last and seen:
            found.append(f"{watched.name}: revision {last} was torn apart")
        for event in told:
            if (event.key, event.revision) in seen:
                found.append(f"{watched.name}: repeated {event.key!r} at {event.revision}")
            elif event.revision < last:
                found.append(f"{watched.name}: {event.key!r} at {event.revision} came after revision {last}")
            elif event.revision < watched.first_revision:
                found.append(
                    f"{watched.name}: {event.key!r} at {event.revision} is from before its beginning"
                )
            if event.revision <= notice:
                found.append(
                    f"{watched.name}: {event.key!r} at {event.revision} came after progress {notice}"
                )
            seen.add((event.key, event.revision))
            last = max(last, event.revision)
    return found


def _misses(watched: Watched, operations: Iterable[Operation]) -> list[str]:
    """Acknowledged writes up to the end of what was told, and what was told about them."""
    events = {
        (event.key, event.revision): event
        for told in watched.told
        if not isinstance(told, int)
        for event in told
    }
    notices = [told for told in watched.told if isinstance(told, int)]
    end = max([*(revision for _, revision in events), *notices], default=0)
    written: dict[tuple[bytes, int], Operation] = {}
    possible: set[tuple[bytes, bytes | None]] = set()
    for op in operations:
        if isinstance(op.request, Read) or not op.request.key.startswith(watched.prefix):
            continue
        if op.wrote and op.answer is not None:
            written[op.request.key, op.answer.revision] = op
        elif op.answer is None:
            possible.add((op.request.key, op.request.value))
    found = []
    for (key, revision), op in written.items():
        event = events.get((key, revision))
        if event is None and watched.first_revision <= revision <= end:
            found.append(f"{watched.name}: missed {_text(op)}")
        elif event is not None and event.value != _value(op):
            found.append(f"{watched.name}: {key!r} at {revision} came as {event.value!r}, not {_text(op)}")
    for at, event in events.items():
        if at not in written and (event.key, event.value) not in possible:
            found.append(f"{watched.name}: nobody wrote {event.key!r} = {event.value!r} at {event.revision}")
    return found


def _value(op: Operation) -> bytes | None:
    return None if isinstance(op.request, Read) else op.request.value


def _text(op: Operation) -> str:
    answer = op.answer
    if answer is None:
        told = "→ unknown"
    elif isinstance(op.request, Read):
        told = f"→ {answer.value!r} of {answer.mod_revision} at {answer.revision}"
    else:
        told = f"→ {answer.revision}" if answer.succeeded else f"→ refused at {answer.revision}"
    return f"{op.client}'s {op.request} {told}"
