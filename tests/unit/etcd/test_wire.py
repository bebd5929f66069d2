"""What goes over the wire comes back as it was."""

from __future__ import annotations

import pytest

from pilothouse.etcd.contract import (
    Bounds,
    Compare,
    Delete,
    Event,
    EventType,
    KeyValue,
    Put,
    Range,
    Sort,
    Target,
    Txn,
)
from pilothouse.etcd.wire import convert
from pilothouse.etcd.wire import etcd_pb2 as pb

KV = KeyValue(b"k", b"v", 2, 3, 2, 7)


@pytest.mark.parametrize(
    "op",
    [
        Range(b"a", b"b", 3, 4, True, False, Sort(Target.MOD, True), Bounds(1, 2, 3, 4), True),
        Range(b"a", sort=Sort(Target.VALUE)),
        Range(b"a"),
    ],
)
def test_a_range(op: Range) -> None:
    assert convert.range_of(convert.range_message(op)) == op


def test_a_transaction_with_everything_in_it() -> None:
    inner = Txn([Compare(b"x", Target.VALUE, "!=", b"1")], [Put(b"y", b"2", 3, True, True, True)], [])
    txn = Txn(
        [Compare(b"a", Target.LEASE, "<", 5, b"b"), Compare(b"c", Target.CREATE, ">", 1)],
        [Range(b"a"), Delete(b"b", b"c", True), inner],
        [Put(b"z", b"")],
    )
    assert convert.txn_of(convert.txn_message(txn)) == txn


def test_events_carry_the_previous_value_only_when_it_was_asked_for() -> None:
    event = Event(EventType.DELETE, KV, KV)
    (with_prev,) = convert.event_messages([event], prev=True)
    (without,) = convert.event_messages([event], prev=False)
    assert convert.event_of(with_prev) == event
    assert convert.event_of(without) == event._replace(prev=None)


def test_bytes_are_those_of_etcd() -> None:
    """Field numbers of kv.proto and rpc.proto, by hand."""
    assert convert.kv_message(KV).SerializeToString() == b"\x0a\x01k\x10\x02\x18\x03\x20\x02\x2a\x01v\x30\x07"
    assert pb.PutRequest(key=b"k", value=b"v").SerializeToString() == b"\x0a\x01k\x12\x01v"
    assert pb.WatchResponse(events=[pb.Event()]).SerializeToString() == b"\x5a\x00"
    assert pb.Compare(range_end=b"e").SerializeToString() == b"\x82\x04\x01e"
