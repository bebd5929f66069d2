"""Which objects of a list or watch a client selects."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import errors, fields
from pilothouse.api.field import go_quote
from pilothouse.apiserver.endpoints.options import ListOptions
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.storage.item import Item

Predicate = Callable[[Item], bool]

_META_LABELS = {"metadata.name": "metadata.name", "metadata.namespace": "metadata.namespace"}


def predicate(scope: Scope, options: ListOptions) -> Predicate | None:
    """A test for stored items, None when everything is selected. 400 for a field that the kind does not offer."""
    label, by_field = options.label_selector, options.field_selector
    if by_field is not None:
        by_field = _translated(scope, by_field)
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


def _translated(scope: Scope, selector: fields.Selector) -> fields.Selector:
    """The selector with the request version's field names turned into the strategy's."""
    strategy = scope.rest.strategy
    known = strategy.field_labels(scope.kind.resource.group_version)
    strict = bool(known) or scope.kind.custom
    offered = known | _META_LABELS
    if strict and not scope.kind.resource.namespaced:
        offered = known | {"metadata.name": "metadata.name"}
    for name in selector.field_names():
        if name in offered:
            continue
        if strict:
            raise errors.bad_request(strategy.field_error.format(name))
        only = ", ".join(go_quote(n) for n in _META_LABELS)
        raise errors.bad_request(f"{go_quote(name)} is not a known field selector: only {only}")
    return fields.Selector(tuple(term._replace(field=offered[term.field]) for term in selector.terms))
