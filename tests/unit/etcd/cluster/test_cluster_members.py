"""When a change of members is refused, and what the reason says."""

from __future__ import annotations

import pytest

from pilothouse.etcd.cluster import members
from pilothouse.etcd.cluster.members import MemberState
from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.wire import etcd_pb2 as pb


def _member(name: str, *, up: bool = True, leader: str = "m1", learner: bool = False) -> MemberState:
    number = int(name[1:])
    status = pb.StatusResponse(leader=int(leader[1:]), raftAppliedIndex=100 + number) if up else None
    error = "" if up else "no connection"
    return MemberState(number, name, (f"p{number}",), (f"c{number}",), learner, status, error)


ALL_UP = [_member("m1"), _member("m2"), _member("m3")]
ONE_DOWN = [_member("m1"), _member("m2", up=False), _member("m3")]
TWO_DOWN = [_member("m1", leader="m0"), _member("m2", up=False), _member("m3", up=False)]


def test_a_member_may_go_when_the_rest_is_a_quorum() -> None:
    assert members.why_not_remove(ALL_UP, ALL_UP[0]) == ""
    assert members.why_not_remove(ONE_DOWN, ONE_DOWN[1]) == "", "the one that is down goes first"


def test_a_member_that_the_quorum_needs_stays_and_the_reason_counts() -> None:
    reason = members.why_not_remove(ONE_DOWN, ONE_DOWN[0])
    assert reason == (
        "without m1 (1) the cluster has 2 voters and needs 2 of them up, but m2 (2) is down: bring it back first, or "
        "remove the one that is down instead"
    )


def test_without_a_quorum_nothing_changes() -> None:
    learner = _member("m4", learner=True)
    for reason in (
        members.why_not_remove([*TWO_DOWN, learner], learner),
        members.why_not_promote([*TWO_DOWN, learner], learner),
    ):
        assert "0 of 3 voters are up, 2 are needed" in reason
        assert "m1 (1) and m2 (2) and m3 (3) are down" in reason


def test_the_last_voter_stays() -> None:
    only = [_member("m1"), _member("m2", learner=True)]
    assert "the only one with a vote" in members.why_not_remove(only, only[0])


def test_a_learner_may_always_go() -> None:
    learner = _member("m4", up=False, learner=True)
    assert members.why_not_remove([*ALL_UP, learner], learner) == ""


def test_one_change_at_a_time() -> None:
    assert members.why_not_add(ALL_UP) == ""
    assert "m4 (4) is a learner still" in members.why_not_add([*ALL_UP, _member("m4", learner=True)])
    assert "m2 (2) is down" in members.why_not_add(ONE_DOWN)


def test_a_promotion_wants_a_learner_that_is_up() -> None:
    assert "has a vote already" in members.why_not_promote(ALL_UP, ALL_UP[1])
    down = _member("m4", up=False, learner=True)
    assert "m4 (4) is not up (no connection)" in members.why_not_promote([*ALL_UP, down], down)
    up = _member("m4", learner=True)
    assert members.why_not_promote([*ALL_UP, up], up) == ""


@pytest.mark.parametrize(("wanted", "found"), [("m2", 2), ("2", 2), ("0x3", 3)])
def test_members_are_named_by_name_or_id(wanted: str, found: int) -> None:
    assert members.pick(ALL_UP, wanted).id == found


def test_an_unknown_member_names_those_there_are() -> None:
    with pytest.raises(StoreError, match=r"there is no member m9: there are m1 \(1\), m2 \(2\), m3 \(3\)"):
        members.pick(ALL_UP, "m9")


def test_the_leader_defragments_last_and_who_is_down_not_at_all() -> None:
    assert [m.name for m in members.defrag_order(ONE_DOWN)] == ["m3", "m1"]
