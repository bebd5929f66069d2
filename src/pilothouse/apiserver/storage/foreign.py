"""Values that this server would not have stored so: what an upstream kube-apiserver leaves in an etcd.

It stores built-in kinds as protobuf by default (k8s.io/apimachinery/pkg/runtime/serializer/protobuf), in what was the
storage version when it did so, and as whatever an EncryptionConfiguration says where there is one:

    {"kind":…                     JSON: custom resources, and all that this server writes
    k8s\0…                        protobuf: read here, and JSON from its next write on
    k8s:enc:PROVIDER:v1:NAME:…    encrypted: cannot be read without its key, which nobody tells this server
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.storage.item import encode

log = logging.getLogger(__name__)

Translate = Callable[[bytes, bytes, Resource], bytes]
"""From a key, its value and the version that its resource is stored in to the value in that version, as JSON; or to the
value as it is where that cannot be."""


def foreign(key: bytes, value: bytes, stored: Resource) -> bytes:
    """Without a codec: nothing can be read."""
    return value


def head(stored: Resource) -> bytes:
    """How this server's own values of a resource begin."""
    return b'{"kind":"%b","apiVersion":"%b",' % (stored.kind.encode(), stored.group_version.encode())


def translator(read: Callable[[bytes, Resource], Obj | None]) -> Translate:
    """`read` makes an object in the storage version of a value, None of one that is in it already. Raises ValueError,
    KeyError or ApiError when it cannot."""

    def translate(key: bytes, value: bytes, stored: Resource) -> bytes:
        try:
            obj = read(value, stored)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ApiError) as error:
            log.error("%s cannot be read: %s", key.decode("utf-8", "replace"), error)
            return value
        return value if obj is None else encode(obj)

    return translate
