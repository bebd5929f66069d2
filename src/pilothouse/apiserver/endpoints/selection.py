"""Which objects of a list or watch a client selects."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.apiserver.endpoints.options import ListOptions
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.storage.item import Item

Predicate = Callable[[Item], bool]

_META_FIELDS = ("metadata.name", "metadata.namespace")


def predicate(scope: Scope, options: ListOptions) -> Predicate | None:
    """A test for stored items, None when everything is selected. 400 for a field that the kind does not offer."""
    label, by_field = options.label_selector, options.field_selector
    if by_field is not None:
        _check_fields(scope, by_field.field_names())
    if label is not None and label.empty:
        label = None
    if by_field is not None and by_field.empty:
        by_field = None
    if label is None and by_field is None:
        return None
    fields_of = scope.rest.strategy.fields

    def selected(item: Item) -> bool:
        obj = item.obj
        meta = obj["metadata"]
        if label is not None and not label.matches(meta.get("labels") or {}):
            return False
        if by_field is None:
            return True
        values = fields_of(obj)
        values["metadata.name"] = meta["name"]
        values["metadata.namespace"] = meta.get("namespace", "")
        return by_field.matches(values)

    return selected


def _check_fields(scope: Scope, names: list[str]) -> None:
    known = scope.rest.strategy.field_names
    cluster = not scope.kind.resource.namespaced
    for name in names:
        if name in known or name == "metadata.name" or (name == "metadata.namespace" and not cluster):
            continue
        if known or scope.kind.custom:
            raise errors.bad_request(f"field label not supported: {name}")
        if name == "metadata.namespace":
            continue
        only = ", ".join(go_quote(n) for n in _META_FIELDS)
        raise errors.bad_request(f"{go_quote(name)} is not a known field selector: only {only}")
