"""Objects inside objects (x-kubernetes-embedded-resource): their metadata is read as any object's is, and what
makes them objects is checked (pkg/apiserver/schema/objectmeta).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.schema.decode import Decoder
from pilothouse.api.structural.schema import Structural
from pilothouse.api.validation import meta, names

Coerce = Callable[[Any, str, list[str]], None]
"""Changes a value; unknown metadata fields are added by path. ValueError for metadata that is none."""
Check = Callable[[Any, str, f.Errors], None]


def coercer(schema: Structural, metadata: Decoder) -> Coerce:
    """Brings the metadata of embedded objects into the form it is stored in. The root's is not this one's."""
    return _coercer(schema, metadata, root=True) or _nothing


def _nothing(value: Any, path: str, found: list[Any]) -> None:
    """A schema without embedded objects."""


def _coercer(schema: Structural | None, metadata: Decoder, *, root: bool = False) -> Coerce | None:
    if schema is None:
        return None
    walk = _walker(
        {name: _coercer(inner, metadata) for name, inner in schema.properties.items()},
        _coercer(schema.described, metadata),
        _coercer(schema.items, metadata),
    )
    if root or not schema.embedded:
        return walk

    def coerce(value: Any, path: str, unknown: list[str]) -> None:
        if type(value) is dict:
            _coerce_meta(value, path, unknown, metadata)
        if walk is not None:
            walk(value, path, unknown)

    return coerce


def _coerce_meta(value: dict[str, Any], path: str, unknown: list[str], metadata: Decoder) -> None:
    for key in ("apiVersion", "kind"):
        if key in value and not isinstance(value[key], str):
            raise ValueError(str(f.invalid(f"{path}.{key}", value[key], "must be a string")))
    if "metadata" not in value:
        return
    found: list[str] = []
    try:
        value["metadata"] = metadata(value["metadata"] or {}, found)
    except ValueError as error:
        raise ValueError(str(f.invalid(f"{path}.metadata", value["metadata"], str(error)))) from None
    unknown += [f"{path}.metadata.{key}" for key in found]


def checker(schema: Structural) -> Check:
    """Checks apiVersion, kind and metadata of embedded objects."""
    return _checker(schema, root=True) or _nothing


def _checker(schema: Structural | None, *, root: bool = False) -> Check | None:
    if schema is None:
        return None
    walk = _walker(
        {name: _checker(inner) for name, inner in schema.properties.items()},
        _checker(schema.described),
        _checker(schema.items),
        keyed=True,
    )
    if root or not schema.embedded:
        return walk

    def check(value: Any, path: str, errors: f.Errors) -> None:
        if type(value) is dict:
            _check_object(value, path, errors)
        if walk is not None:
            walk(value, path, errors)

    return check


def _check_object(value: dict[str, Any], path: str, errors: f.Errors) -> None:
    for key in ("apiVersion", "kind"):
        if key not in value:
            errors.append(f.required(f"{path}.{key}"))
    for key, given in value.items():
        if key in ("apiVersion", "kind"):
            errors += _check_name(key, given, f"{path}.{key}")
        elif key == "metadata" and type(given) is dict:
            named = {**given, "name": given.get("name") or "fakename"}
            errors += meta.validate_create(named, bool(given.get("namespace")), "path", f"{path}.metadata")


def _check_name(key: str, given: Any, path: str) -> f.Errors:
    if not isinstance(given, str):
        return [f.invalid(path, given, "must be a string")]
    if not given:
        return [f.required(path)]
    if key == "apiVersion":
        if given.count("/") > 1:
            return [f.invalid(path, given, f"unexpected GroupVersion string: {given}")]
        return []
    wrong = names.is_dns1035_label(given.lower())
    if not wrong:
        return []
    text = "may have mixed case, but should otherwise match: " + ",".join(wrong)
    return [f.invalid(path, given, text)]


_Walk = Callable[[Any, str, list[Any]], None]


def _walker(
    properties: dict[str, _Walk | None],
    additional: _Walk | None,
    element: _Walk | None,
    *,
    keyed: bool = False,
) -> _Walk | None:
    """Visits what lies below a node; None when nothing below is of interest. `keyed`: additional keys are
    written as map keys."""
    inside = {name: visit for name, visit in properties.items() if visit is not None}
    if not (inside or additional or element):
        return None

    def walk(value: Any, path: str, found: list[Any]) -> None:
        if type(value) is dict:
            for key, inner in value.items():
                if key in properties:
                    visit = inside.get(key)
                    if visit is not None:
                        visit(inner, f"{path}.{key}" if path else key, found)
                elif additional is not None:
                    additional(inner, f"{path}[{key}]" if keyed else f"{path}.{key}", found)
        elif type(value) is list and element is not None:
            for index, inner in enumerate(value):
                element(inner, f"{path}[{index}]", found)

    return walk
