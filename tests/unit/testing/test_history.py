"""The history checker finds what was planted, and nothing else."""

from __future__ import annotations

import itertools
import random

import pytest

from pilothouse.testing.history import (
    Answer,
    History,
    Operation,
    Read,
    Request,
    Seen,
    Swap,
    Watched,
    Write,
    linearizability_violations,
    revision_violations,
    watch_violations,
)

_K = b"k"


def _op(called: float, returned: float | None, request: Request, answer: Answer | None = None) -> Operation:
    return Operation("c", request, called, returned, answer)


def _put(called: float, returned: float, value: bytes, revision: int) -> Operation:
    return _op(called, returned, Write(_K, value), Answer(revision))


def _got(called: float, returned: float, value: bytes | None, mod: int, revision: int) -> Operation:
    return _op(called, returned, Read(_K), Answer(revision, value=value, mod_revision=mod))


def _lost(called: float, value: bytes | None) -> Operation:
    """A write of unknown outcome."""
    return _op(called, None, Write(_K, value))


_SOUND = {
    "one after another": [
        _put(0, 1, b"1", 2),
        _got(2, 3, b"1", 2, 2),
        _put(4, 5, b"2", 3),
        _got(6, 7, b"2", 3, 3),
    ],
    "a read beside a write sees either": [
        _put(0, 1, b"1", 2),
        _put(2, 9, b"2", 3),
        _got(3, 4, b"1", 2, 2),
        _got(5, 6, b"2", 3, 3),
    ],
    "a lost write that was done": [_lost(0, b"1"), _got(5, 6, b"1", 2, 2)],
    "a lost write that was not done": [_lost(0, b"1"), _got(5, 6, None, 0, 1)],
    "a lost write that was done late": [_lost(0, b"1"), _got(5, 6, None, 0, 1), _got(7, 8, b"1", 2, 2)],
    "a deletion that found nothing": [
        _op(0, 1, Write(_K, None), Answer(1, succeeded=False)),
        _put(2, 3, b"1", 2),
    ],
    "a swap that was refused": [
        _put(0, 1, b"1", 2),
        _op(2, 3, Swap(_K, 0, b"2"), Answer(2, succeeded=False)),
    ],
    "a swap of what a lost write left": [
        _lost(0, b"1"),
        _got(1, 2, b"1", 2, 2),
        _op(3, 4, Swap(_K, 2, b"2"), Answer(3)),
        _got(5, 6, b"2", 3, 3),
    ],
    "a lost swap": [_put(0, 1, b"1", 2), _op(2, None, Swap(_K, 2, b"2")), _got(3, 4, b"2", 3, 3)],
}

_WRONG = {
    "a lost write": [_put(0, 1, b"1", 2), _got(2, 3, None, 0, 2)],
    "a stale read": [_put(0, 1, b"1", 2), _put(2, 3, b"2", 3), _got(4, 5, b"1", 2, 3)],
    "time goes back for a second reader": [
        _put(0, 1, b"1", 2),
        _put(2, 9, b"2", 3),
        _got(3, 4, b"2", 3, 3),
        _got(5, 6, b"1", 2, 3),
    ],
    "a value that nobody wrote": [_put(0, 1, b"1", 2), _got(2, 3, b"9", 2, 2)],
    "the wrong revision": [_put(0, 1, b"1", 2), _got(2, 3, b"1", 7, 7)],
    "two swaps of the same": [
        _put(0, 1, b"1", 2),
        _op(2, 9, Swap(_K, 2, b"a"), Answer(3)),
        _op(2, 9, Swap(_K, 2, b"b"), Answer(4)),
    ],
    "two creations": [_op(0, 9, Swap(_K, 0, b"a"), Answer(2)), _op(0, 9, Swap(_K, 0, b"b"), Answer(3))],
    "a swap that was refused for no reason": [
        _put(0, 1, b"1", 2),
        _op(2, 3, Swap(_K, 2, b"2"), Answer(2, succeeded=False)),
    ],
    "a deletion that found nothing though it was there": [
        _put(0, 1, b"1", 2),
        _op(2, 3, Write(_K, None), Answer(2, succeeded=False)),
    ],
    "a lost write before its call": [_got(0, 1, b"1", 2, 2), _lost(2, b"1")],
    "a lost write that was undone": [_lost(0, b"1"), _got(1, 2, b"1", 2, 2), _got(3, 4, None, 0, 2)],
}


@pytest.mark.parametrize("name", _SOUND)
def test_what_a_store_can_answer(name: str) -> None:
    assert linearizability_violations(_SOUND[name]) == []


@pytest.mark.parametrize("name", _WRONG)
def test_what_no_store_can_answer(name: str) -> None:
    (violation,) = linearizability_violations(_WRONG[name])
    assert violation.startswith("no order of operations explains what was answered about b'k'")


def _explains(order: tuple[Operation, ...]) -> bool:
    """By hand: the operations one after the other."""
    value, mod = None, 0
    for op in order:
        answer, request = op.answer, op.request
        assert answer is not None
        if isinstance(request, Read):
            if (answer.value, answer.mod_revision) != (value, mod):
                return False
        elif isinstance(request, Swap) and answer.succeeded is not (request.expected == mod):
            return False
        elif answer.succeeded:
            value, mod = request.value, answer.revision
    return True


def _in_time(order: tuple[Operation, ...]) -> bool:
    return all(
        later.returned_s is None or later.returned_s >= earlier.called_s
        for earlier, later in itertools.combinations(order, 2)
    )


def test_the_search_agrees_with_all_orders_tried_by_hand() -> None:
    random_ = random.Random(49)
    sound = 0
    for _ in range(1500):
        ops, revision = [], 1
        for _ in range(random_.randint(1, 5)):
            called = random_.random() * 10
            returned = called + random_.random() * 5
            kind = random_.randrange(3)
            if kind == 0:
                revision += 1
                ops.append(_put(called, returned, b"%d" % revision, revision))
            elif kind == 1:
                mod = random_.randrange(revision + 1)
                ops.append(_got(called, returned, b"%d" % mod if mod > 1 else None, mod if mod > 1 else 0, 9))
            else:
                revision += 1
                expected = random_.choice((0, *range(2, revision)))
                answer = Answer(revision, succeeded=random_.random() < 0.6)
                ops.append(_op(called, returned, Swap(_K, expected, b"%d" % revision), answer))
        by_hand = any(_in_time(order) and _explains(order) for order in itertools.permutations(ops))
        assert (linearizability_violations(ops) == []) is by_hand
        sound += by_hand
    assert 200 < sound < 1300, "both kinds must occur"


def test_revisions_are_not_shared_and_do_not_go_back() -> None:
    sound = [_put(0, 5, b"1", 3), _put(1, 2, b"2", 2), _got(6, 7, b"1", 3, 3)]
    assert revision_violations(sound) == []
    assert "two writes have revision 2" in revision_violations([_put(0, 1, b"1", 2), _put(0, 1, b"2", 2)])[0]
    assert "went back" in revision_violations([_put(0, 1, b"1", 3), _put(2, 3, b"2", 2)])[0]
    assert "went back" in revision_violations([_put(0, 1, b"1", 3), _got(2, 3, None, 0, 2)])[0]
    assert "went back" in revision_violations([_got(0, 1, None, 0, 3), _put(2, 3, b"1", 3)])[0]


_WRITES = [_put(0, 1, b"1", 2), _put(2, 3, b"2", 3), _lost(4, b"3"), _put(6, 7, b"4", 5)]


@pytest.mark.parametrize(
    ("told", "violation"),
    [
        ([[(b"1", 2)], [(b"2", 3)], 3, [(b"3", 4)], [(b"4", 5)], 9], ""),
        ([[(b"1", 2), (b"2", 3), (b"4", 5)]], ""),
        ([[(b"1", 2)]], ""),
        ([], ""),
        ([[(b"1", 2)], [(b"4", 5)]], "missed"),
        ([[(b"1", 2)], 5], "missed"),
        ([[(b"1", 2)], [(b"2", 3)], [(b"2", 3)]], "repeated"),
        ([[(b"2", 3)], [(b"1", 2)]], "came after revision 3"),
        ([3, [(b"1", 2)], [(b"2", 3)]], "came after progress 3"),
        ([[(b"1", 2), (b"2", 3)], 3, 2], "progress went back"),
        ([[(b"1", 2)], [(b"9", 3)]], "came as b'9'"),
        ([[(b"1", 2)], [(b"2", 3)], [(b"8", 4)]], "nobody wrote"),
        ([[(b"0", 1)]], "from before its beginning"),
    ],
)
def test_watches(told: list[list[tuple[bytes, int]] | int], violation: str) -> None:
    watched = Watched("w", b"", 2)
    for one in told:
        if isinstance(one, int):
            watched.progress(one)
        else:
            watched.events([Seen(_K, value, revision) for value, revision in one])
    found = watch_violations(watched, _WRITES)
    if violation:
        assert any(violation in text for text in found), found
    else:
        assert found == []


def test_a_revision_that_is_torn_apart() -> None:
    watched = Watched("w", b"", 2)
    watched.events([Seen(b"a", b"1", 2)])
    watched.events([Seen(b"b", b"1", 2)])
    assert "w: revision 2 was torn apart" in watch_violations(watched, [])


def test_a_whole_history() -> None:
    history = History()
    watched = history.watch("w", b"", 2)
    first = history.call(0, "c", Write(_K, b"1"))
    history.done(first, 1, Answer(2))
    history.refused(history.call(2, "c", Write(_K, b"2")))
    watched.events([Seen(_K, b"1", 2)])
    assert history.violations() == []
    history.done(history.call(3, "c", Read(_K)), 4, Answer(2))
    watched.events([Seen(_K, b"1", 2)])
    assert len(history.violations()) == 3
