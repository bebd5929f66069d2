"""kubectl's move from client-side to server-side apply: the annotation in which `kubectl apply` keeps its
last configuration (managedfields/internal: lastappliedmanager.go, lastappliedupdater.go).

When kubectl applies on the server, it may take fields that it had set from the client, as long as they are as
it left them; and the annotation is kept up to date, so that an older kubectl can still apply from the client.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.apply import field_set as fs
from pilothouse.apiserver.endpoints.apply.compare import Walker, compare
from pilothouse.apiserver.endpoints.apply.field_set import LEAF, FieldSet
from pilothouse.apiserver.endpoints.apply.typed import DoesNotFit, check, field_set

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MANAGER = "kubectl"
ANNOTATIONS_SIZE_MAX = 256 * 1024
"""Bytes of all annotations' keys and values together."""

_encode = msgspec.json.Encoder(order="sorted").encode


def annotation(obj: Obj) -> str:
    """The last applied configuration, "" when there is none."""
    found: Any = ((obj.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION)
    return found if isinstance(found, str) else ""


def allowed_conflicts(live: Obj, type_: Type, walker: Walker, api_version: str) -> FieldSet:
    """The fields that client-side apply set and nobody changed since; empty when that cannot be told."""
    try:
        applied = msgspec.json.decode(annotation(live) or "null")
    except msgspec.DecodeError:
        return LEAF
    if not isinstance(applied, dict) or applied.get("apiVersion") != api_version:
        return LEAF
    try:
        check(applied, type_)
        named = field_set(applied, type_)
        changes = compare(walker, applied, live)
    except DoesNotFit:
        return LEAF
    return fs.difference(fs.difference(named, changes.changed), changes.removed)


def with_annotation(obj: Obj, applied: Obj) -> Obj:
    """`obj` with the annotation of what was just applied; without it if it would be too long."""
    meta = dict(applied.get("metadata") or {})
    if meta.get("annotations"):
        meta["annotations"] = {k: v for k, v in meta["annotations"].items() if k != ANNOTATION}
        if not meta["annotations"]:
            del meta["annotations"]
    text = _encode({**applied, "metadata": meta}).decode() + "\n"
    annotations = {**obj["metadata"]["annotations"], ANNOTATION: text}
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > ANNOTATIONS_SIZE_MAX:
        del annotations[ANNOTATION]
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}
