"""The field manager: keeps `metadata.managedFields`, and makes an applied configuration effective
(k8s.io/apimachinery/pkg/util/managedfields, sigs.k8s.io/structured-merge-diff merge).

    update: whatever a write changed belongs to its manager now, and to nobody else
    apply:  what the configuration names belongs to its manager too; others' values are conflicts unless
            forced; what the manager applied before and names no more goes, if nobody else owns it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pilothouse.api import errors
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.apply import field_set as fs
from pilothouse.apiserver.endpoints.apply import last_applied, managed, typed
from pilothouse.apiserver.endpoints.apply.compare import Comparison, Walker, Walkers, compare
from pilothouse.apiserver.endpoints.apply.conflicts import Conflicts
from pilothouse.apiserver.endpoints.apply.field_set import LEAF, FieldSet
from pilothouse.apiserver.endpoints.apply.managed import APPLY, UPDATE, Entry, Identity, Managers

BEFORE_FIRST_APPLY = "before-first-apply"

_STRIPPED = fs.of_paths(
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.uid",
    "metadata.clusterName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
)
"""Fields that belong to the system: they have no owner."""

_WALKERS = Walkers()
"""Of the built-in types, which live as long as the process."""


class _Unconvertible(typed.DoesNotFit):
    """An object that another version, which somebody owns fields in, cannot hold."""


class Version(NamedTuple):
    """Another version of the resource: its type, and how our objects read in it (None: just the same)."""

    type: Type
    convert: Callable[[Obj], Obj] | None


class FieldManager:
    """For one resource at one version.

    `reset` are fields that writes here never own (status on the main resource, spec on its status).
    `empty` gives what a new object is compared with: Go's zero value in round-trip form.
    `versions` are the other versions that managers of the object may have used; entries of versions that are
    neither there nor ours lose their owner, as upstream. None: every version has our shape.
    `walkers` for types that do not live as long as the process (custom resources).
    """

    def __init__(
        self,
        type_: Type,
        api_version: str,
        reset: FieldSet,
        empty: Callable[[], Obj],
        *,
        kind: str = "",
        versions: dict[str, Version] | None = None,
        walkers: Walkers | None = None,
    ) -> None:
        self._type = type_
        self._api_version = api_version
        self._kind = kind
        self._reset = reset
        self._empty = empty()
        self._versions = versions
        self._walkers = walkers or _WALKERS
        self._walker = self._walker_of(type_)

    def _walker_of(self, type_: Type) -> Walker:
        walker = self._walkers.of(type_)
        assert walker is not None, "an object's type is a struct"
        return walker

    # -- update -----------------------------------------------------------------------------------------

    def update(self, live: Obj | None, new: Obj, manager: str, subresource: str, now: str) -> Obj:
        """`new` (owned) with its managedFields as they must be after this write. `now` is a metav1.Time."""
        meta = new.get("metadata")
        if meta is None:
            meta = new["metadata"] = {}
        sent = meta.pop("managedFields", None)
        known = _known(live, sent, bool(subresource))
        if not known and live is not None:
            return new  # nobody is tracked: only a create or an apply begins to
        try:
            changes = self._compare(live if live is not None else self._empty, new)
            known = self._owned(known, changes, live, new)
        except _Unconvertible:
            return new  # as upstream: who owns what can no longer be told
        except typed.DoesNotFit:
            managed.write(meta, known)
            return new
        self._take(known, changes, Identity(manager, UPDATE, self._api_version, subresource), now)
        managed.write(meta, managed.cap(known))
        return new

    def _compare(self, old: Obj, new: Obj) -> Comparison:
        changes = compare(self._walker, old, new)
        reset = self._reset
        if not reset:
            return changes
        return Comparison(
            fs.recursive_difference(changes.changed, reset), fs.recursive_difference(changes.removed, reset)
        )

    def _owned(self, known: Managers, changes: Comparison, live: Obj | None, new: Obj) -> Managers:
        """What the managers still own after a change by somebody else."""
        out: Managers = {}
        touched: dict[str, FieldSet | None] = {self._api_version: fs.union(changes.changed, changes.removed)}
        for identity, entry in known.items():
            version = entry.api_version
            if version not in touched:
                other = self._elsewhere(version, changes, live, new)
                touched[version] = None if other is None else fs.union(other.changed, other.removed)
            gone = touched[version]
            if gone is None:
                continue
            left = fs.difference(entry.fields, gone)
            if left is entry.fields:
                out[identity] = entry
            elif left:
                out[identity] = Entry(left, version, entry.time)
        return out

    def _elsewhere(self, version: str, changes: Comparison, live: Obj | None, new: Obj) -> Comparison | None:
        """The same change in another version's terms; None for a version that is not served."""
        if self._versions is None:
            return changes
        other = self._versions.get(version)
        if other is None:
            return None
        if other.convert is None:
            return changes
        before = other.convert(live if live is not None else self._empty)
        after = other.convert(new)
        try:
            typed.check(after, other.type)
        except typed.DoesNotFit as error:
            raise _Unconvertible(error.errors) from None
        return compare(self._walker_of(other.type), before, after)

    def _take(self, managers: Managers, changes: Comparison, identity: Identity, now: str) -> None:
        own = fs.difference(changes.changed, _STRIPPED)
        if own:
            previous = managers.get(identity)
            fields = own if previous is None else fs.union(previous.fields, own)
            managers[identity] = Entry(fields, self._api_version, now)

    # -- apply ------------------------------------------------------------------------------------------

    def apply(
        self, live: Obj | None, applied: Obj, manager: str, subresource: str, now: str, *, force: bool
    ) -> Obj:
        """The object that results, with its managedFields. Raises 400 for another kind or managedFields in
        the configuration, 500 (as upstream) for one that does not fit the type, 409 for conflicts. Parts are
        shared with the arguments; a result that equals `live` is not to be stored."""
        self._check_applied(applied)
        before = _without_managed(live) if live is not None else self._empty
        known = managed.read(live["metadata"].get("managedFields")) if live is not None else {}
        if not known and live is not None:
            self._begin(known, before, subresource, now)
        identity = Identity(manager, APPLY, "", subresource)
        try:
            made, managers = self._applied(before, applied, known, identity, now, force)
        except Conflicts as conflicts:
            made, managers = self._retried(conflicts, before, applied, known, identity, now)
        if manager == last_applied.MANAGER and last_applied.annotation(made):
            made = last_applied.with_annotation(made, applied)
        meta = dict(made.get("metadata") or before["metadata"])
        managed.write(meta, managed.cap(managers))
        return {**made, "metadata": meta}

    def _check_applied(self, applied: Obj) -> None:
        api_version, kind = applied.get("apiVersion") or "", applied.get("kind") or ""
        if api_version != self._api_version or (self._kind and kind != self._kind) or not kind:
            raise errors.bad_request(f"invalid object type: {_group_version_kind(api_version, kind)}")
        meta = applied.get("metadata")
        if isinstance(meta, dict) and meta.get("managedFields") is not None:
            raise errors.bad_request("metadata.managedFields must be nil")

    def _begin(self, known: Managers, live: Obj, subresource: str, now: str) -> None:
        """An object that was never tracked: all of it belongs to whoever was there before."""
        changes = self._compare(self._empty, live)
        self._take(known, changes, Identity(BEFORE_FIRST_APPLY, UPDATE, self._api_version, subresource), now)

    def _applied(
        self, live: Obj, applied: Obj, known: Managers, identity: Identity, now: str, force: bool
    ) -> tuple[Obj, Managers]:
        """Merge, prune, settle ownership."""
        try:
            typed.check(applied, self._type)
        except typed.DoesNotFit as error:
            raise errors.ApiError(
                500, "", f"failed to create typed patch object ({_named(applied)}): {error}"
            ) from None
        try:
            merged = typed.merge(live, applied, self._type)
            last = known.get(identity)
            named = fs.recursive_difference(typed.field_set(applied, self._type), self._reset)
            managers = {**known, identity: Entry(named, self._api_version, last.time if last else "")}
            merged = self._pruned(merged, managers, last)
            changes = self._compare(live, merged)
        except typed.DoesNotFit as error:
            raise errors.ApiError(500, "", f"failed to merge config: {error}") from None
        return self._settled(live, merged, managers, changes, identity, now, force)

    def _settled(
        self,
        live: Obj,
        merged: Obj,
        managers: Managers,
        changes: Comparison,
        identity: Identity,
        now: str,
        force: bool,
    ) -> tuple[Obj, Managers]:
        own = managers.pop(identity)
        if not force:
            self._refuse_conflicts(managers, changes, live, merged)
        managers = self._owned(managers, changes, live, merged)
        fields = fs.difference(own.fields, _STRIPPED)
        same = merged == live
        if fields:
            managers[identity] = Entry(fields, self._api_version, own.time if same else now)
        return (live if same else merged), managers

    def _refuse_conflicts(self, others: Managers, changes: Comparison, live: Obj, merged: Obj) -> None:
        found: dict[Identity, FieldSet] = {}
        for identity, entry in others.items():
            theirs: Comparison | None = changes
            if entry.api_version != self._api_version:
                theirs = self._elsewhere(entry.api_version, changes, live, merged)
            shared = fs.intersection(entry.fields, theirs.changed) if theirs is not None else LEAF
            if shared:
                found[identity] = shared
        if found:
            raise Conflicts(found)

    def _retried(
        self, conflicts: Conflicts, live: Obj, applied: Obj, known: Managers, identity: Identity, now: str
    ) -> tuple[Obj, Managers]:
        """kubectl may take what client-side apply had set; everything else stays a conflict."""
        if identity.manager != last_applied.MANAGER:
            raise conflicts.error()
        allowed = last_applied.allowed_conflicts(live, self._type, self._walker, self._api_version)
        left = conflicts.without(allowed)
        if left is not None:
            raise left.error()
        return self._applied(live, applied, known, identity, now, True)

    def _pruned(self, merged: Obj, managers: Managers, last: Entry | None) -> Obj:
        """Without what was applied last time, is not applied now, and nobody owns (Updater.prune)."""
        if last is None or not last.fields:
            return merged
        type_ = self._type
        before = typed.with_named(fs.recursive_difference(last.fields, self._reset), type_)
        all_fields = typed.with_named(typed.field_set(merged, type_), type_)
        owned: FieldSet = LEAF
        for entry in managers.values():
            owned = fs.union(owned, entry.fields)
        kept = self._named_in(typed.remove(merged, type_, before))
        unowned = fs.difference(all_fields, fs.union(kept, typed.with_named(owned, type_)))
        kept = self._named_in(typed.remove(merged, type_, unowned))
        gone = fs.intersection(fs.difference(all_fields, kept), before)
        if not gone:
            return merged
        pruned = typed.remove(merged, type_, gone) or {}
        if not pruned.get("metadata"):
            pruned = {**pruned, "metadata": merged.get("metadata") or {}}
        result: Obj = pruned
        return result

    def _named_in(self, value: Obj | None) -> FieldSet:
        return typed.with_named(typed.field_set(value, self._type), self._type) if value else LEAF


def _known(live: Obj | None, sent: list[Obj] | None, subresource: bool) -> Managers:
    """The managers to start from: those that the write brings, if it brings any that make sense (never on a
    subresource), the live object's otherwise; none for a reset."""
    stored = live["metadata"].get("managedFields") if live is not None else None
    if sent and not subresource and sent != stored:
        if managed.is_reset(sent):
            return {}
        try:
            return managed.read(sent, trusted=False)
        except managed.Unreadable:
            return managed.read(stored)
    return managed.read(stored)


def _without_managed(obj: Obj) -> Obj:
    meta = obj["metadata"]
    if "managedFields" not in meta:
        return obj
    return {**obj, "metadata": {k: v for k, v in meta.items() if k != "managedFields"}}


def _group_version_kind(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    return f"{group}/{version}, Kind={kind}"


def _named(applied: Obj) -> str:
    meta = applied.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    where = f"{meta.get('namespace') or ''}/{meta.get('name') or ''}"
    return f"{where}; {_group_version_kind(applied.get('apiVersion') or '', applied.get('kind') or '')}"
