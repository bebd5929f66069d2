"""Objects of one template come by the hundred and differ in their names only. What decoding, defaulting and field
ownership made of the first is kept for those after it:

    what was sent, less its name   →   the object, less its name, and the entry of who made it

Both are bytes or never changed, so that nobody who works on a new object reaches into another. Kept is only what
nobody was warned about.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import msgspec

from pilothouse.api.types import Obj

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

KEPT_MAX = 512
BYTES_MAX = 16_384
"""Larger bodies are not kept."""


class Draft(NamedTuple):
    document: bytes
    entry: Obj
    """Its managedFields entry; manager and time are the next one's own, the fields are shared by all."""

    def made(self, name: str | None, manager: str, now: str) -> Obj:
        """A new object, which the caller owns."""
        obj: Obj = _decode(self.document)
        meta = obj["metadata"]
        if name is not None:
            meta["name"] = name
        meta["managedFields"] = [{**self.entry, "manager": manager, "time": now}]
        return obj


class Drafts:
    """Of one kind: those that were used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, Draft] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: bytes) -> Draft | None:
        draft = self._kept.get(key)
        if draft is not None:
            self._kept.move_to_end(key)
        return draft

    def keep(self, key: bytes, obj: Obj) -> None:
        """`obj` has its managedFields, and is not changed here."""
        meta = obj["metadata"]
        entries: list[Obj] = meta.get("managedFields") or []
        if not key or len(entries) != 1:
            return
        rest = {k: v for k, v in meta.items() if k not in ("name", "managedFields")}
        self._kept[key] = Draft(_encode({**obj, "metadata": rest}), entries[0])
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)


def key(sent: Obj, namespace: str) -> bytes:
    """What a body in a namespace is kept under; b"" for one that is not like others: its name is none, it says who
    owns its fields, or it is large."""
    meta = sent.get("metadata")
    if type(meta) is not dict or meta.get("managedFields"):
        return b""
    if "name" in meta:
        name = meta["name"]
        if not name or type(name) is not str:
            return b""
        sent = {**sent, "metadata": {k: v for k, v in meta.items() if k != "name"}}
    text = _encode([namespace, sent])
    if len(text) > BYTES_MAX or (b"null" in text and _decode(text) != [namespace, sent]):
        return b""  # A number beyond all bounds reads back as null.
    return text
