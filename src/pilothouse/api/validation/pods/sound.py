"""Pods that were found sound, by the bytes of all that their checks look at: the spec and the annotations. Pods of one
template are checked once.

The volume of a pod's token has a name of its own (kube-api-access-x2f4d). Which five letters they are makes no
difference to any check as long as they are the same wherever the name stands, so a key has none there.
"""

from __future__ import annotations

import re
from collections import OrderedDict

import msgspec

from pilothouse.api.types import Obj

_encode = msgspec.json.Encoder().encode
_TOKEN_VOLUME = re.compile(rb'"kube-api-access-[bcdfghjklmnpqrstvwxz2456789]{5}"')
_ANY = b"\x00"
"""JSON has no such byte."""

KEPT_MAX = 512
BYTES_MAX = 16_384


def key(pod: Obj) -> bytes:
    """b"" for a pod that is not like others: one that is large, or has volumes that are named after it."""
    text = _encode((pod["spec"], pod["metadata"].get("annotations")))
    if len(text) > BYTES_MAX or b'"ephemeral"' in text:
        return b""
    volume = _TOKEN_VOLUME.search(text)
    if volume is None or text.count(volume[0]) != text.count(b"kube-api-access-"):
        return text
    return text.replace(volume[0], _ANY)


class Sound:
    """Keys of pods that have no errors, and nothing to warn of but their names."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, key: bytes) -> bool:
        if key not in self._kept:
            return False
        self._kept.move_to_end(key)
        return True

    def keep(self, key: bytes) -> None:
        if key:
            self._kept[key] = None
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
