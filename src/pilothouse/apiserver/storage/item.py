"""A stored object: its bytes as they are served, and the object itself where something must look inside.

The stored value has no resourceVersion: the revision is known only once it is stored. What is served is the
value with the revision spliced in behind `"metadata":{`, which needs no decoding.

    stored   {"kind":"Pod","apiVersion":"v1","metadata":{"name":"a",…
    served   {"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"a",…
"""

from __future__ import annotations

import re

import msgspec

from pilothouse.api import errors
from pilothouse.api.protobuf import MAGIC
from pilothouse.api.types import Obj

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_HEAD = re.compile(rb'\{"kind":"[^"\\]*","apiVersion":"[^"\\]*","metadata":\{(?!\}|"resourceVersion")')
"""How a stored value begins; the revision goes right behind it."""


_ENCRYPTED = b"k8s:enc:"
_DIGITS = tuple(b"%d" % digit for digit in range(10))
"""What differs in another time or number, however long it is, and stays the same in another order. Without a look at
them each renewal of a lease would decode two."""


def _what(value: bytes) -> str:
    """What a value is that holds no JSON object, and what to do about it; "" when that is not known."""
    if value.startswith(MAGIC):
        return "it is protobuf of a kind or version that this server does not know"
    if value.startswith(_ENCRYPTED):
        provider = value[len(_ENCRYPTED) :].partition(b":")[0].decode("utf-8", "replace")
        return (
            f"it is encrypted ({provider}); have the server that wrote it store it as it is first (identity)"
        )
    return ""


class Labelled(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Head(msgspec.Struct):
    metadata: Labelled


_decode_head = msgspec.json.Decoder(_Head).decode


_METADATA = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
_STORED_METADATA = tuple(key for key in _METADATA if key != "resourceVersion")


def ordered_metadata(meta: Obj, order: tuple[str, ...] = _METADATA) -> Obj:
    """Metadata's fields as Go writes them: in the order of the struct."""
    return {key: meta[key] for key in order if key in meta}


def encode(obj: Obj) -> bytes:
    """The stored form of an object: kind, version and metadata first, no resourceVersion."""
    meta = ordered_metadata(obj["metadata"], _STORED_METADATA)
    head = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": meta}
    head.update((k, v) for k, v in obj.items() if k not in head)
    return _encode(head)


class Item:
    """One object at one revision. `value` is the stored form; `obj` is shared: never change it."""

    __slots__ = ("_obj", "_splice_at", "key", "revision", "value")

    def __init__(self, key: bytes, revision: int, value: bytes, obj: Obj | None = None) -> None:
        self.key = key
        self.revision = revision
        self.value = value
        self._obj = obj
        self._splice_at = 0

    def stored_at(self, revision: int) -> None:
        """A new item was stored: from now on it has a revision, and so has the object that came with it."""
        self.revision = revision
        if self._obj is not None:
            self._obj["metadata"]["resourceVersion"] = str(revision)

    def forget_object(self) -> None:
        """Keep the bytes only: a past state is rarely looked into again."""
        self._obj = None

    @property
    def obj(self) -> Obj:
        """The decoded object with its resourceVersion, decoded at most once."""
        obj = self._obj
        if obj is None:
            obj = self._obj = self.decode()
        return obj

    def decode(self) -> Obj:
        """A fresh decoded object that the caller owns."""
        obj = self._decoded()
        if self.revision:
            obj["metadata"]["resourceVersion"] = str(self.revision)
        return obj

    def holds(self, value: bytes) -> bool:
        """Whether `value` is this state: also with its keys in another order, which Go's encoding does not know."""
        if value == self.value:
            return True
        if len(value) != len(self.value) or any(value.count(d) != self.value.count(d) for d in _DIGITS):
            return False
        return bool(_decode(value) == _decode(self.value))

    def _decoded(self) -> Obj:
        """ApiError 500 for a value that somebody damaged, or wrote past the API server."""
        try:
            obj: Obj = _decode(self.value)
            obj["metadata"]["name"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            why = _what(self.value) or error
            raise errors.internal(f"{self.key.decode('utf-8', 'replace')} holds no object: {why}") from error
        return obj

    @property
    def labels(self) -> dict[str, str]:
        if self._obj is not None:
            return self._obj["metadata"].get("labels") or {}
        return _decode_head(self.value).metadata.labels or {}

    @property
    def raw(self) -> bytes:
        """The served JSON, a line."""
        return self.document + b"\n"

    @property
    def document(self) -> bytes:
        """The served JSON without the line's end, to stand inside another document."""
        if not self.revision:
            return self.value
        at = self._splice()
        return b'%b"resourceVersion":"%d",%b' % (self.value[:at], self.revision, self.value[at:])

    @property
    def list_raw(self) -> bytes:
        """As an item of a typed list: no kind, no version. (Items of custom resources keep theirs: `document`.)"""
        at = self._splice()
        return b'{"metadata":{"resourceVersion":"%d",%b' % (self.revision, self.value[at:])

    def _splice(self) -> int:
        """Where the revision goes. Values that others wrote in another order are brought into ours first."""
        if not self._splice_at:
            head = _HEAD.match(self.value)
            if head is None:
                self.value = encode(self._decoded())
                head = _HEAD.match(self.value)
                if head is None:
                    raise ValueError(f"{self.key.decode()} does not hold an object with metadata")
            self._splice_at = head.end()
        return self._splice_at
