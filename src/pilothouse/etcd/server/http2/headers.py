"""Header blocks: HPACK in (the `hpack` library), a few fixed shapes out.

What goes out is written as literals without indexing (RFC 7541, section 6.2.2), so an encoder has no state to keep.
"""

from __future__ import annotations

from urllib.parse import quote

import hpack

from pilothouse.etcd.server.http2.frames import ConnectionFault, ErrorCode

BLOCK_MAX = 16 * 1024
"""Bytes of one header block, on the wire and unpacked: thousands of calls may hold theirs."""
_CACHED_MAX = 256
_UNQUOTED = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What a `grpc-message` carries as it is, beside letters and digits: printable ASCII without "%"."""

Fields = dict[str, str]


class HeaderReader:
    """Decodes a connection's header blocks.

    A client that repeats a call sends only references into a table that both ends keep. As long as nobody changes
    the table, the same bytes mean the same fields."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(BLOCK_MAX)
        self._known: dict[bytes, Fields] = {}

    def read(self, block: bytes) -> Fields:
        """Names are lower case; of a repeated one the values are joined by commas."""
        known = self._known.get(block)
        if known is not None:
            return known
        try:
            fields = self._decoder.decode(block, raw=True)
        except hpack.HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"unreadable headers: {error}") from error
        read: Fields = {}
        for name, value in fields:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            read[key] = f"{read[key]},{text}" if key in read else text
        if not _references_only(block):
            self._known.clear()
        elif len(self._known) < _CACHED_MAX:
            self._known[block] = read
        return read


def _references_only(block: bytes) -> bool:
    """Whether a block changes no table: each field is one byte with its high bit set (RFC 7541, section 6.1)."""
    return min(block, default=0) > 0x80 and max(block) < 0xFF


def block(fields: list[tuple[str, str]]) -> bytes:
    """A header block that any decoder reads, whatever came before."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(value: str) -> bytes:
    raw = value.encode()
    return _length(len(raw)) + raw


def _length(n: int) -> bytes:
    """An integer with a 7-bit prefix (RFC 7541, section 5.1)."""
    if n < 127:
        return bytes((n,))
    n -= 127
    out = bytearray((127,))
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    out.append(n)
    return bytes(out)


RESPONSE = block([(":status", "200"), ("content-type", "application/grpc")])
OK = block([("grpc-status", "0")])


def trailers(code: int, message: str) -> bytes:
    """A call's end; the message is percent-encoded as gRPC wants it."""
    if not code:
        return OK
    return block([("grpc-status", str(code)), ("grpc-message", quote(message, safe=_UNQUOTED))])


def plain(status: int, text: str) -> bytes:
    """For a request that is not gRPC: headers alone."""
    return block([(":status", str(status)), ("content-type", "text/plain"), ("x-reason", text)])
