"""Events as they go over the wire, encoded once for all watches that get them.

An encoded event is a field of a WatchResponse (its tag, its length, itself), so that an answer is its head with the
events' bytes behind it: protobuf's fields may come one after the other as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.etcd.contract import Event
from pilothouse.etcd.wire import convert
from pilothouse.etcd.wire import etcd_pb2 as pb

_KEPT_MAX = 4096


class EncodedEvents:
    """Remembers the events of the last moment, which is when watches share them."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, bool], tuple[Event, bytes]] = {}

    def encode(self, events: Iterable[Event], *, prev: bool) -> list[bytes]:
        return [self._encode(event, prev) for event in events]

    def _encode(self, event: Event, prev: bool) -> bytes:
        key = (id(event), prev)
        kept = self._kept.get(key)
        if kept is not None and kept[0] is event:
            return kept[1]
        data = pb.WatchResponse(events=convert.event_messages((event,), prev=prev)).SerializeToString()
        if len(self._kept) >= _KEPT_MAX:
            self._kept.clear()
        self._kept[key] = (event, data)
        return data


def answers(head: pb.WatchResponse, events: list[bytes], bytes_max: int) -> list[bytes]:
    """A head with its events, in parts of fewer bytes than the limit where single events allow it; all parts but the
    last are marked as fragments (v3rpc/watch.go, sendFragments). 0 is no limit."""
    head.fragment = False
    last = head.SerializeToString()
    if not bytes_max or len(last) + sum(map(len, events)) < bytes_max:
        return [last + b"".join(events)]
    head.fragment = True
    other = head.SerializeToString()
    parts: list[list[bytes]] = []
    size = bytes_max
    for event in events:
        if size + len(event) >= bytes_max:
            parts.append([])
            size = len(other)
        parts[-1].append(event)
        size += len(event)
    return [(other if n < len(parts) - 1 else last) + b"".join(part) for n, part in enumerate(parts)]
