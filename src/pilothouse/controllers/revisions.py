"""ControllerRevisions: the templates that a DaemonSet or StatefulSet has had (pkg/controller/history,
https://kubernetes.io/docs/tasks/manage-daemon/rollback-daemon-set/).

A revision holds a strategic merge patch that restores its template. Revisions with equal data are one: going back
to an old template gives its revision the next number.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONTROLLER_REVISIONS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.reconciler import controller_ref
from pilothouse.kit.world import SUFFIX_ALPHABET

HASH_LABEL = "controller.kubernetes.io/hash"
NAME_LABEL = "controller-revision-hash"
"""On pods, and on the revisions of DaemonSets."""
_PREFIX_MAX = 223
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def template_patch(template: Obj) -> Obj:
    """A revision's data: the patch that replaces spec.template."""
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def data_hash(data: Obj, collisions: int) -> str:
    """The digest in a revision's name (HashControllerRevision): FNV-1 of the data as Go's encoder writes it."""
    text = msgspec.json.encode(data, order="deterministic").decode()
    for char, escaped in _HTML.items():
        text = text.replace(char, escaped)
    digest = 2166136261
    for byte in f"{text}{collisions}".encode():
        digest = (digest * 16777619 & 0xFFFFFFFF) ^ byte
    return "".join(SUFFIX_ALPHABET[ord(c) % len(SUFFIX_ALPHABET)] for c in str(digest))


def new(owner: Obj, resource: Resource, digest: str, labels: dict[str, str], revision: int) -> Obj:
    """The revision of the owner's present template, named by `digest`."""
    meta = owner["metadata"]
    revision_meta: Obj = {
        "name": f"{meta['name'][:_PREFIX_MAX]}-{digest}",
        "namespace": meta["namespace"],
        "labels": labels,
        "ownerReferences": [controller_ref(owner, resource)],
    }
    if meta.get("annotations"):
        revision_meta["annotations"] = meta["annotations"]
    return {
        "apiVersion": CONTROLLER_REVISIONS.group_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": revision_meta,
        "data": template_patch(owner["spec"]["template"]),
        "revision": revision,
    }


def next_number(revisions: Iterable[Obj]) -> int:
    return max((r["revision"] for r in revisions), default=0) + 1


def in_order(revisions: Iterable[Obj]) -> list[Obj]:
    """Oldest first (history.SortControllerRevisions)."""
    return sorted(
        revisions,
        key=lambda r: (
            r["revision"],
            r["metadata"].get("creationTimestamp") or "",
            r["metadata"]["name"],
        ),
    )


async def renumber(client: Client, revision: Obj, number: int) -> Obj:
    """The revision with another number."""
    typed = {"apiVersion": CONTROLLER_REVISIONS.group_version, "kind": CONTROLLER_REVISIONS.kind}
    return await client.update(CONTROLLER_REVISIONS, {**revision, **typed, "revision": number})


async def create(client: Client, wanted: Obj) -> Obj | None:
    """The stored revision; None when its name is taken by one with other data: a collision of hashes."""
    meta = wanted["metadata"]
    try:
        return await client.create(CONTROLLER_REVISIONS, wanted, meta["namespace"])
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
    present = await client.get(CONTROLLER_REVISIONS, meta["name"], meta["namespace"])
    return present if present.get("data") == wanted["data"] else None


async def delete(client: Client, revision: Obj) -> None:
    meta = revision["metadata"]
    try:
        await client.delete(CONTROLLER_REVISIONS, meta["name"], meta["namespace"])
    except ApiError as error:
        if error.code != 404:
            raise
