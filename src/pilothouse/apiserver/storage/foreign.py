"""Values that are no JSON: what an upstream kube-apiserver leaves in an etcd.

It stores built-in kinds as protobuf by default (k8s.io/apimachinery/pkg/runtime/serializer/protobuf), and as
whatever an EncryptionConfiguration says where there is one:

    {"kind":…                     JSON: custom resources, and all that this server writes
    k8s\\0…                        protobuf: read here, and JSON from its next write on
    k8s:enc:PROVIDER:v1:NAME:…    encrypted: cannot be read without its key, which nobody tells this server
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pilothouse.api.protobuf import MAGIC
from pilothouse.api.types import Obj
from pilothouse.apiserver.storage.item import encode

log = logging.getLogger(__name__)

Translate = Callable[[bytes, bytes], bytes]
"""From a key and its value to the value as JSON, or the value as it is where that cannot be."""


def foreign(key: bytes, value: bytes) -> bytes:
    """Without a codec: nothing can be read."""
    return value


def translator(decode: Callable[[bytes], Obj]) -> Translate:
    """`decode` makes an object of a protobuf body; ValueError when it cannot."""

    def translate(key: bytes, value: bytes) -> bytes:
        if not value.startswith(MAGIC):
            return value
        try:
            return encode(decode(value))
        except (ValueError, KeyError) as error:
            log.error("%s holds protobuf that cannot be read: %s", key.decode("utf-8", "replace"), error)
            return value

    return translate
