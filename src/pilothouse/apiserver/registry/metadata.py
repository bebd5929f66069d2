"""What the server sets and keeps in metadata, for every kind (rest.BeforeCreate, rest.BeforeUpdate)."""

from __future__ import annotations

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.strategy import Strategy
from pilothouse.kit.world import World

_GENERATED_SUFFIX = 5
_GENERATED_LENGTH_MAX = 63


_SYSTEM = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


def wipe(obj: Obj) -> None:
    """Take away what only the server sets (rest.WipeObjectMetaSystemFields)."""
    for key in _SYSTEM:
        obj["metadata"].pop(key, None)


_DUPLICATE_OWNERS = (
    ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may "
    "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}"
)


def deduplicate_owners(obj: Obj, warnings: list[str], *, after_admission: bool = False) -> None:
    """Drop owner references that are there twice, with a warning (dedupOwnerReferencesAndAddWarning)."""
    refs = obj["metadata"].get("ownerReferences") or ()
    if len(refs) < 2:
        return
    kept: list[Obj] = []
    duplicates: list[str] = []
    for ref in refs:
        if ref in kept:
            duplicates.append(ref.get("uid", ""))
        else:
            kept.append(ref)
    if not duplicates:
        return
    when = " after mutating admission happens" if after_admission else ""
    warnings.append(_DUPLICATE_OWNERS.format(when, ", ".join(duplicates)))
    obj["metadata"]["ownerReferences"] = kept


def before_create(world: World, obj: Obj, namespace: str, strategy: Strategy) -> None:
    """Fill uid, creation time, generation and a generated name; drop what clients may not set."""
    meta = obj["metadata"]
    wipe(obj)
    meta.pop("resourceVersion", None)
    meta["uid"] = world.uid()
    meta["creationTimestamp"] = world.timestamp()
    if strategy.generation:
        meta["generation"] = 1
    if namespace:
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    if meta.get("generateName") and not meta.get("name"):
        base = meta["generateName"]
        meta["name"] = generated_name(world, base) if strategy.generates_names else base


def generated_name(world: World, base: str) -> str:
    """`base` cut so that five random letters fit into 63 characters (names.SimpleNameGenerator)."""
    return base[: _GENERATED_LENGTH_MAX - _GENERATED_SUFFIX] + world.suffix(_GENERATED_SUFFIX)


def before_update(obj: Obj, old: Obj) -> None:
    """Keep what an update may leave out and what it may not change without being told so."""
    meta, before = obj["metadata"], old["metadata"]
    if not meta.get("uid"):
        meta["uid"] = before.get("uid", "")
    if "creationTimestamp" in before:
        meta["creationTimestamp"] = before["creationTimestamp"]
    if before.get("deletionTimestamp"):
        meta["deletionTimestamp"] = before["deletionTimestamp"]
    if "deletionGracePeriodSeconds" in before:
        meta.setdefault("deletionGracePeriodSeconds", before["deletionGracePeriodSeconds"])
    meta.pop("selfLink", None)
    if "generation" in before:
        meta["generation"] = before["generation"]
    else:
        meta.pop("generation", None)


_KEPT_FOR_STATUS = ("deletionTimestamp", "labels", "annotations", "finalizers", "ownerReferences")


def keep_for_status(meta: Obj, before: Obj) -> None:
    """What a status write may not change where the kind says so (metav1.ResetObjectMetaForStatus)."""
    for key in _KEPT_FOR_STATUS:
        if key in before:
            meta[key] = before[key]
        else:
            meta.pop(key, None)


def check_namespace(obj: Obj, namespace: str) -> None:
    """400 when the body names another namespace than the path (EnsureObjectNamespaceMatchesRequestNamespace)."""
    meta = obj.setdefault("metadata", {})
    given = meta.get("namespace", "")
    if given == namespace:
        return
    if not given:
        meta["namespace"] = namespace
        return
    if not namespace:
        del meta["namespace"]
        return
    raise errors.bad_request(
        "the namespace of the provided object does not match the namespace sent on the request"
    )
