"""Rows of etcd's `key` bucket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.etcd.contract import KeyValue
from pilothouse.etcd.snapshots.errors import BadRow
from pilothouse.etcd.snapshots.rows import from_row, row


def test_a_put_is_the_bytes_that_etcd_writes() -> None:
    key, value = row(KeyValue(b"a", b"1", 2, 2, 1), 0)
    assert key == bytes.fromhex("0000000000000002 5f 0000000000000000")
    assert value == bytes.fromhex("0a0161 1002 1802 2001 2a0131")


def test_a_deletion_names_the_key_alone() -> None:
    key, value = row(KeyValue(b"a", b"", 0, 3, 0), 7)
    assert key == bytes.fromhex("0000000000000003 5f 0000000000000007 74")
    assert value == bytes.fromhex("0a0161")


_NUMBER = st.integers(1, 2**63 - 1)


@given(
    st.binary(min_size=1), st.binary(), _NUMBER, _NUMBER, _NUMBER, st.integers(0, 2**63 - 1), st.booleans()
)
def test_the_way_there_and_back(
    name: bytes, value: bytes, created: int, modified: int, version: int, lease: int, deleted: bool
) -> None:
    kv = (
        KeyValue(name, b"", 0, modified, 0)
        if deleted
        else KeyValue(name, value, created, modified, version, lease)
    )
    assert from_row(*row(kv, version)) == (kv, version)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"", b""),
        (b"x" * 17, b""),
        (bytes(8) + b"_" + bytes(8) + b"u", b""),
        (b"\xff" * 8 + b"_" + bytes(8), b""),
        (bytes(8) + b"_" + bytes(8), b"\xff\xff\xff"),
        (bytes(8) + b"_" + bytes(8), b""),
    ],
)
def test_other_bytes_are_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(BadRow):
        from_row(key, value)
