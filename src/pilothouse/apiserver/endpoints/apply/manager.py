"""The field manager: keeps `metadata.managedFields`, and makes one applied configuration effective
(k8s.io/apimachinery/pkg/util/managedfields).

    update: whatever a write changed belongs to its manager now, and to nobody else
    apply:  what the configuration names belongs to its manager too; others' values are conflicts unless forced;
            what the manager applied before and names no more goes, if nobody else owns it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.apply import field_set as fs
from pilothouse.apiserver.endpoints.apply import typed
from pilothouse.apiserver.endpoints.apply.field_set import FieldSet

UPDATE_MANAGERS_MAX = 10
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"

_STRIPPED = fs.of_paths(
    "apiVersion",
    "kind",
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

_UNCOMPARED = frozenset(("managedFields", "resourceVersion"))


class Identity(NamedTuple):
    """Who owns an entry. Appliers are known apart from their API version."""

    manager: str
    operation: str
    api_version: str
    subresource: str


class Entry(NamedTuple):
    fields: FieldSet
    api_version: str
    time: str


Managers = dict[Identity, Entry]


class FieldManager:
    """For one resource at one version. `reset` are fields that writes here never own (a status on the main
    resource). `empty` gives the object that a new one is compared with."""

    def __init__(self, type_: Type, api_version: str, reset: FieldSet, empty: Callable[[], Obj]) -> None:
        self._type = type_
        self._api_version = api_version
        self._reset = reset
        self._ignored = fs.union(_STRIPPED, reset)
        self._empty = empty()

    # -- update -----------------------------------------------------------------------------------------

    def update(self, live: Obj | None, new: Obj, manager: str, subresource: str, now: str) -> Obj:
        """`new` (owned) with its managedFields as they must be after this write."""
        meta = new.setdefault("metadata", {})
        sent = meta.pop("managedFields", None)
        if sent is not None and len(sent) == 1 and not sent[0]:
            return new
        known = self._read(sent) if sent else None
        if known is None:
            known = self._read(live["metadata"].get("managedFields")) if live is not None else {}
        known = known or {}
        before = live if live is not None else self._empty
        difference = typed.compare(_comparable(before), _comparable(new), self._type)
        identity = Identity(manager, "Update", self._api_version, subresource)
        self._write(new, self._updated(known, difference, identity, now), now)
        return new

    def _updated(
        self, known: Managers, difference: typed.Comparison, identity: Identity, now: str
    ) -> Managers:
        taken = fs.union(difference.added, difference.modified)
        touched = fs.union(taken, difference.removed)
        managers: Managers = {}
        for other, entry in known.items():
            left = fs.difference(entry.fields, touched) if touched else entry.fields
            if left:
                managers[other] = entry._replace(fields=left)
        own = fs.recursive_difference(taken, self._ignored)
        if own:
            previous = managers.get(identity)
            fields = fs.union(previous.fields, own) if previous is not None else own
            managers[identity] = Entry(fields, self._api_version, now)
        return managers

    # -- apply ------------------------------------------------------------------------------------------

    def apply(
        self, live: Obj | None, applied: Obj, manager: str, subresource: str, now: str, *, force: bool
    ) -> Obj:
        """The object that results, with its managedFields; raises 409 on conflicts. When nothing changes the
        live object's own managedFields stay."""
        self._check_applied(applied)
        before = live if live is not None else self._empty
        known = self._read(before["metadata"].get("managedFields")) or {}
        if not known and live is not None:
            known = self._first_apply(before, now)
        identity = Identity(manager, "Apply", "", subresource)
        last = known.get(identity)
        own = fs.recursive_difference(typed.field_set(_comparable(applied), self._type), self._ignored)
        current = {k: v for k, v in known.items() if k != identity}
        current[identity] = Entry(own, self._api_version, now)
        merged = typed.merge(_comparable(before), _comparable(applied), self._type)
        if last is not None and last.fields:
            owned: FieldSet = {}
            for entry in current.values():
                owned = fs.union(owned, entry.fields)
            merged = typed.prune(merged, self._type, last.fields, owned)
        difference = typed.compare(_comparable(before), merged, self._type)
        self._resolve(current, identity, difference, force)
        return self._result(live, applied, merged, difference, current, identity, last, now)

    def _result(
        self,
        live: Obj | None,
        applied: Obj,
        merged: Obj,
        difference: typed.Comparison,
        managers: Managers,
        identity: Identity,
        last: Entry | None,
        now: str,
    ) -> Obj:
        merged = {**merged, "metadata": dict(merged.get("metadata") or {})}
        meta = merged["metadata"]
        if applied["metadata"].get("resourceVersion"):
            meta["resourceVersion"] = applied["metadata"]["resourceVersion"]
        else:
            meta.pop("resourceVersion", None)
        managers = {k: v for k, v in managers.items() if v.fields}
        unchanged = (
            difference.same and last is not None and managers.get(identity, last).fields == last.fields
        )
        if unchanged and last is not None:
            managers[identity] = last
        self._write(merged, managers, now)
        return merged

    def _check_applied(self, applied: Obj) -> None:
        meta = applied.get("metadata") or {}
        if meta.get("managedFields") is not None:
            raise errors.bad_request("metadata.managedFields must be nil")
        try:
            typed.check(applied, self._type)
        except typed.DoesNotFit as error:
            group, _, version = applied.get("apiVersion", "").rpartition("/")
            where = f"{meta.get('namespace', '')}/{meta.get('name', '')}; {group}/{version}, Kind={applied.get('kind', '')}"
            raise errors.ApiError(
                500, "", f"failed to create typed patch object ({where}): {error}"
            ) from None

    def _first_apply(self, live: Obj, now: str) -> Managers:
        """An object that was never tracked: all of it belongs to whoever was there before."""
        fields = fs.recursive_difference(typed.field_set(_comparable(live), self._type), self._ignored)
        identity = Identity(BEFORE_FIRST_APPLY, "Update", self._api_version, "")
        return {identity: Entry(fields, self._api_version, now)} if fields else {}

    def _resolve(
        self, managers: Managers, identity: Identity, difference: typed.Comparison, force: bool
    ) -> None:
        """Take what changed from the others, or refuse."""
        taken = fs.union(difference.added, difference.modified)
        conflicts: dict[Identity, FieldSet] = {}
        for other, entry in managers.items():
            if other != identity:
                shared = fs.intersection(entry.fields, taken)
                if shared:
                    conflicts[other] = shared
        if conflicts and not force:
            raise _conflict(conflicts, managers)
        touched = fs.union(taken, difference.removed)
        for other, entry in list(managers.items()):
            if other != identity:
                managers[other] = entry._replace(fields=fs.difference(entry.fields, touched))

    # -- managedFields ----------------------------------------------------------------------------------

    def _read(self, entries: list[Obj] | None) -> Managers | None:
        """None when an entry makes no sense: the object then counts as if it had said nothing."""
        managers: Managers = {}
        for entry in entries or ():
            operation = entry.get("operation", "")
            if operation not in ("Apply", "Update") or entry.get("fieldsType") not in ("FieldsV1",):
                return None
            fields = entry.get("fieldsV1")
            if not isinstance(fields, dict):
                return None
            version = entry.get("apiVersion", "")
            identity = Identity(
                entry.get("manager", ""),
                operation,
                "" if operation == "Apply" else version,
                entry.get("subresource", ""),
            )
            managers[identity] = Entry(fields, version, entry.get("time", ""))
        return managers

    def _write(self, obj: Obj, managers: Managers, now: str) -> None:
        managers = _capped(managers)
        entries = [_entry(identity, entry) for identity, entry in managers.items()]
        entries.sort(key=_order)
        if entries:
            obj["metadata"]["managedFields"] = entries
        else:
            obj["metadata"].pop("managedFields", None)


def _comparable(obj: Obj) -> Obj:
    meta = obj.get("metadata")
    if not meta or _UNCOMPARED.isdisjoint(meta):
        return obj
    return {**obj, "metadata": {k: v for k, v in meta.items() if k not in _UNCOMPARED}}


def _entry(identity: Identity, entry: Entry) -> Obj:
    out: Obj = {"manager": identity.manager, "operation": identity.operation, "apiVersion": entry.api_version}
    if entry.time:
        out["time"] = entry.time
    out["fieldsType"] = "FieldsV1"
    out["fieldsV1"] = entry.fields
    if identity.subresource:
        out["subresource"] = identity.subresource
    return out


def _order(entry: Obj) -> tuple[str, str, str, str, str]:
    return (
        entry["operation"],
        entry.get("time", ""),
        entry["manager"],
        entry["apiVersion"],
        entry.get("subresource", ""),
    )


def _capped(managers: Managers) -> Managers:
    """No more than ten updaters: the oldest are merged into one."""
    updaters = [i for i in managers if i.operation == "Update"]
    if len(updaters) <= UPDATE_MANAGERS_MAX:
        return managers
    updaters.sort(key=lambda i: (managers[i].time, i.manager))
    surplus = updaters[: len(updaters) - UPDATE_MANAGERS_MAX + 1]
    out = {i: e for i, e in managers.items() if i not in surplus}
    for identity in surplus:
        entry = managers[identity]
        bucket = Identity(ANCIENT, "Update", identity.api_version, "")
        present = out.get(bucket)
        fields = fs.union(present.fields, entry.fields) if present is not None else entry.fields
        out[bucket] = Entry(fields, entry.api_version, max(entry.time, present.time if present else ""))
    return out


def _conflict(conflicts: dict[Identity, FieldSet], managers: Managers) -> errors.ApiError:
    """409 with one line per field and a cause each (NewConflictError)."""
    causes: list[dict[str, Any]] = []
    groups: dict[str, list[str]] = {}
    for identity in sorted(conflicts, key=lambda i: _described(i, managers[i])):
        described = _described(identity, managers[identity])
        for path in fs.members(conflicts[identity]):
            groups.setdefault(described, []).append(path)
            causes.append(
                {"reason": "FieldManagerConflict", "message": f"conflict with {described}", "field": path}
            )
    if len(causes) == 1:
        text = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = []
        for described, paths in groups.items():
            lines.append(f"conflicts with {described}:")
            lines += [f"- {path}" for path in paths]
        text = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    return errors.ApiError(409, "Conflict", text, {"causes": causes})


def _described(identity: Identity, entry: Entry) -> str:
    text = go_quote(identity.manager)
    if identity.subresource:
        text += f" with subresource {go_quote(identity.subresource)}"
    if identity.operation == "Update":
        text += f" using {entry.api_version}"
    return text
