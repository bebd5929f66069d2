"""`metadata.managedFields`: entries read, kept in order, and capped
(k8s.io/apimachinery/pkg/util/managedfields/internal: managedfields.go, capmanagers.go).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.apply import field_set as fs
from pilothouse.apiserver.endpoints.apply.field_set import FieldSet

UPDATE = "Update"
APPLY = "Apply"
UPDATE_MANAGERS_MAX = 10
ANCIENT = "ancient-changes"


class Identity(NamedTuple):
    """Who owns an entry. An applier is the same whatever version it applies: its `api_version` is ""."""

    manager: str
    operation: str
    api_version: str
    subresource: str

    def describe(self) -> str:
        """As conflicts name it: `"kubectl" with subresource "status" using v1`."""
        text = go_quote(self.manager)
        if self.subresource:
            text += f" with subresource {go_quote(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


class Entry(NamedTuple):
    """What is owned, in which version's terms, and since when ("" when unknown). `stored` is the entry as it
    stands in the object, to be used again as long as nothing changed."""

    fields: FieldSet
    api_version: str
    time: str
    stored: Obj | None = None


Managers = dict[Identity, Entry]


class Unreadable(ValueError):
    """Entries that make no sense."""


def is_reset(entries: Any) -> bool:
    """`[{}]`: the way to say "no managers at all"."""
    return isinstance(entries, list) and len(entries) == 1 and entries[0] == {}


def read(entries: list[Obj] | None, *, trusted: bool = True) -> Managers:
    """Entries by identity. `trusted` ones were written by this server: their sets are canonical."""
    managers: Managers = {}
    for at, entry in enumerate(entries or ()):
        operation = entry.get("operation", "")
        version = entry.get("apiVersion", "")
        if not trusted:
            _check(entry, at)
        fields = entry.get("fieldsV1") or fs.LEAF
        if not trusted:
            try:
                fields = fs.canonical(fields)
            except ValueError as error:
                raise Unreadable(f"error decoding manager from manager entry {at}: {error}") from None
        identity = Identity(
            entry.get("manager", ""),
            operation,
            "" if operation == APPLY else version,
            entry.get("subresource", ""),
        )
        managers[identity] = Entry(fields, version, entry.get("time") or "", entry if trusted else None)
    return managers


def _check(entry: Obj, at: int) -> None:
    if entry.get("operation", "") not in (APPLY, UPDATE):
        raise Unreadable("operation must be `Apply` or `Update`")
    if not entry.get("apiVersion"):
        raise Unreadable("apiVersion must not be empty")
    fields_type = entry.get("fieldsType", "")
    if not fields_type:
        raise Unreadable(f"missing fieldsType in managed fields entry {at}")
    if fields_type != "FieldsV1":
        raise Unreadable(f"invalid fieldsType {go_quote(fields_type)} in managed fields entry {at}")


def write(meta: Obj, managers: Managers) -> None:
    """Set `managedFields` of an object's metadata (owned by the caller)."""
    if not managers:
        meta.pop("managedFields", None)
        return
    entries = [
        entry.stored if entry.stored is not None else _stored(identity, entry)
        for identity, entry in managers.items()
    ]
    if len(entries) > 1:
        entries.sort(key=_order)
    meta["managedFields"] = entries


def _stored(identity: Identity, entry: Entry) -> Obj:
    out: Obj = {"manager": identity.manager, "operation": identity.operation, "apiVersion": entry.api_version}
    if entry.time:
        out["time"] = entry.time
    out["fieldsType"] = "FieldsV1"
    out["fieldsV1"] = entry.fields
    if identity.subresource:
        out["subresource"] = identity.subresource
    return out


def _order(entry: Obj) -> tuple[str, str, str, str, str]:
    """Appliers first, then by time, manager, version, subresource. RFC 3339 in UTC sorts as text."""
    return (
        entry["operation"],
        entry.get("time") or "",
        entry.get("manager", ""),
        entry.get("apiVersion", ""),
        entry.get("subresource", ""),
    )


def cap(managers: Managers) -> Managers:
    """At most ten updaters: the oldest of one version are merged into one entry named ancient-changes."""
    updaters = [identity for identity in managers if identity.operation == UPDATE]
    surplus = len(updaters) - UPDATE_MANAGERS_MAX
    if surplus <= 0:
        return managers
    updaters.sort(key=lambda identity: (managers[identity].time, _encoded(identity)))
    out = dict(managers)
    first: dict[str, Identity] = {}
    for identity in updaters:
        if surplus <= 0:
            break
        version = managers[identity].api_version
        if version not in first:
            first[version] = identity
            continue
        bucket = Identity(ANCIENT, UPDATE, version, "")
        if bucket not in out:
            out[bucket] = out.pop(first[version])
        entry = out.pop(identity)
        out[bucket] = Entry(fs.union(out[bucket].fields, entry.fields), version, entry.time)
        surplus -= 1
    return out


def _encoded(identity: Identity) -> tuple[str, str, str, str]:
    """Upstream compares the JSON of the entry; the manager's name comes first in it."""
    return (identity.manager, identity.operation, identity.api_version, identity.subresource)


def in_order(managers: Managers) -> list[Identity]:
    """Identities as error texts list them."""
    return sorted(managers, key=_encoded)
