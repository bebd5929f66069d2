"""Protocol buffers by hand, for the few small messages that etcd keeps on disk and never sends (leasepb, authpb).

field number << 3 | 0, number (base 128, lowest first)      field number << 3 | 2, length, bytes
"""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.etcd.snapshots.errors import Damaged

_NUMBER, _BYTES = 0, 2
_MASK = 0xFFFF_FFFF_FFFF_FFFF


def number_field(field: int, number: int) -> bytes:
    """Nothing for 0."""
    return _varint(field << 3 | _NUMBER) + _varint(number) if number else b""


def bytes_field(field: int, data: bytes, *, empty: bool = False) -> bytes:
    """Nothing for b"", unless it is one of several."""
    return _varint(field << 3 | _BYTES) + _varint(len(data)) + data if data or empty else b""


def fields_of(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values, in order. Damaged for what is no message."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        if tag & 7 == _NUMBER:
            number, at = _read_varint(data, at)
            yield tag >> 3, number - (1 << 64) if number >> 63 else number
        elif tag & 7 == _BYTES:
            length, at = _read_varint(data, at)
            if at + length > len(data):
                raise Damaged("a message is cut off")
            yield tag >> 3, data[at : at + length]
            at += length
        else:
            raise Damaged("a message has a field of an unknown kind")


def _varint(number: int) -> bytes:
    number &= _MASK
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & _MASK, at
    raise Damaged("a message's number is cut off")
