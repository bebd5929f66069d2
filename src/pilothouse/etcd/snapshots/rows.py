"""One version of a key as etcd keeps it on disk: a row of the `key` bucket (etcd server/storage/mvcc, revision.go).

    row key    revision, 8 bytes big endian │ "_" │ place within the revision, 8 bytes │ "t" if it is a deletion
    value      an mvccpb.KeyValue; of a deletion it names the key alone

Worked example:

    revision 2: put a=1    00 00 00 00 00 00 00 02 5f 00 00 00 00 00 00 00 00
                           0a 01 "a"  10 02  18 02  20 01  2a 01 "1"
    revision 3: delete a   00 00 00 00 00 00 00 03 5f 00 00 00 00 00 00 00 00 74
                           0a 01 "a"

Rows sort in the order of their events. `hash_kv` is computed over exactly these bytes.
"""

from __future__ import annotations

import struct

from google.protobuf.message import DecodeError

from pilothouse.etcd.contract import KeyValue
from pilothouse.etcd.snapshots.errors import BadRow
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.convert import kv_message, kv_of

_REVISION = struct.Struct(">q1sq")
_TOMBSTONE = b"t"


def row(kv: KeyValue, sub: int) -> tuple[bytes, bytes]:
    """The row of a version (a deletion when its version is 0) that is number `sub` of its revision."""
    key = _REVISION.pack(kv.mod_revision, b"_", sub)
    if not kv.version:
        return key + _TOMBSTONE, pb.KeyValue(key=kv.key).SerializeToString()
    return key, kv_message(kv).SerializeToString()


def row_revision(key: bytes) -> tuple[int, int, bool]:
    """Revision, place within it, and whether it is a deletion. BadRow."""
    if len(key) != _REVISION.size and (len(key) != _REVISION.size + 1 or key[-1:] != _TOMBSTONE):
        raise BadRow(f"a row of the key bucket has a key of {len(key)} bytes that is no revision")
    main, separator, sub = _REVISION.unpack_from(key)
    if separator != b"_" or main < 0 or sub < 0:
        raise BadRow("a row of the key bucket has a key that is no revision")
    return main, sub, len(key) > _REVISION.size


def from_row(key: bytes, value: bytes) -> tuple[KeyValue, int]:
    """A version (version 0: a deletion) and its place within its revision. BadRow."""
    main, sub, deleted = row_revision(key)
    try:
        m = pb.KeyValue.FromString(value)
    except DecodeError as error:
        raise BadRow(f"the row of revision {main} holds no key and value: {error}") from error
    if deleted:
        return KeyValue(m.key, b"", 0, main, 0), sub
    if m.version <= 0 or m.mod_revision <= 0:
        raise BadRow(f"the row of revision {main} holds no version of a key")
    return kv_of(m), sub
