"""The simulation's own judgement finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.load import Ledger, Seen
from tests.simulation.verdict import faults_of, settle

LIST = Seen(1, "LIST", "", "", "")
HISTORY = [
    LIST,
    Seen(2, "ADDED", "a", "u1", "t1"),
    Seen(3, "MODIFIED", "a", "u1", "t2"),
    Seen(5, "ADDED", "b", "u2", "t3"),
    Seen(6, "DELETED", "a", "u1", "t2"),
]
END = {"b": "t3"}


def _ledger() -> Ledger:
    return Ledger(
        acknowledged={"t1": 2, "t3": 5}, unknown={"t2": "", "t4": ""}, refused={"t5": ""}, deleted={"u1"}
    )


def _faults(ledger: Ledger, one: list[Seen], other: list[Seen], end: dict[str, str] = END) -> str:
    return "\n".join(faults_of(ledger, {"one": one, "other": other}, {"etcd": end}, {}))


def test_a_right_history_passes() -> None:
    assert _faults(_ledger(), HISTORY, HISTORY) == ""


def _lost(ledger: Ledger) -> None:
    ledger.acknowledged["t9"] = 4


def _phantom(ledger: Ledger) -> None:
    del ledger.unknown["t2"]


def _refused(ledger: Ledger) -> None:
    del ledger.unknown["t2"]
    ledger.refused["t2"] = "conflict"


def _undeleted(ledger: Ledger) -> None:
    ledger.deleted.add("u2")


def _not_deleted_by_anybody(ledger: Ledger) -> None:
    ledger.deleted.clear()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_lost, "acknowledged write t9 at 4 was seen 0 times"),
        (_phantom, "nobody wrote t2"),
        (_refused, "refused write t2 was seen"),
        (_undeleted, "the acknowledged deletion of u2 was seen 0 times"),
        (_not_deleted_by_anybody, "nobody deleted it"),
    ],
)
def test_what_clients_were_told_must_have_happened(change: Callable[[Ledger], None], told: str) -> None:
    ledger = _ledger()
    change(ledger)
    assert told in _faults(ledger, HISTORY, HISTORY)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (HISTORY[:2] + HISTORY[3:], "differ"),
        (HISTORY[:3] + HISTORY[2:], "came after 3"),
        (HISTORY[:-1], "ends with something else"),
        ([LIST, HISTORY[2], HISTORY[1], *HISTORY[3:]], "revision 2 (ADDED a) came after 3"),
    ],
)
def test_a_watcher_that_misses_or_repeats_is_found(other: list[Seen], told: str) -> None:
    assert told in _faults(_ledger(), HISTORY, other)


def test_a_write_that_comes_again_after_it_was_settled_is_nobodys() -> None:
    ledger = _ledger()
    settle(ledger, HISTORY)
    assert ledger.unknown == {"t4": ""}, "what was not seen may come yet"
    late = [Seen(7, "MODIFIED", "b", "u2", "t4")]
    assert "\n".join(faults_of(ledger, {"one": late}, {}, END)) == ""
    again = [Seen(7, "MODIFIED", "b", "u2", "t1")]
    assert "nobody wrote t1" in "\n".join(faults_of(ledger, {"one": again}, {}, END))
