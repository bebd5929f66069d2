"""List and map topologies in a schema: x-kubernetes-list-type, -list-map-keys and -map-type
(validation.ValidateCustomResourceDefinitionOpenAPISchema, validateMapListKeysMapSet)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.validation.apiextensions import gostructs
from pilothouse.api.validation.apiextensions.props import Schema, items_schema, properties, type_of
from pilothouse.api.validation.gotext import NULL

LIST_TYPE, MAP_TYPE, MAP_KEYS = (
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-list-map-keys",
)
LIST_TYPES, MAP_TYPES = ("atomic", "set", "map"), ("atomic", "granular")


def validate(schema: Schema, path: str, *, atomic_set_items: bool, safe_keys: bool) -> f.Errors:
    errors = _map_type(schema, path) + _list_type(schema, path, atomic_set_items)
    if schema.get(LIST_TYPE) == "map":
        errors += _map_list(schema, path)
    return errors + _safe_keys(schema, path) if safe_keys else errors


def _wrong_type(schema: Schema, path: str, wanted: str, why: str) -> f.FieldError:
    kind, text = type_of(schema), f"must be {wanted} if {why} is specified"
    return f.invalid(f"{path}.type", kind, text) if kind else f.required(f"{path}.type", text)


def _map_type(schema: Schema, path: str) -> f.Errors:
    map_type = schema.get(MAP_TYPE)
    if map_type is None:
        return []
    errors: f.Errors = []
    if type_of(schema) != "object":
        errors.append(_wrong_type(schema, path, "object", MAP_TYPE))
    if map_type not in MAP_TYPES:
        errors.append(f.not_supported(f"{path}.{MAP_TYPE}", map_type, MAP_TYPES))
    return errors


def _list_type(schema: Schema, path: str, atomic_set_items: bool) -> f.Errors:
    errors: f.Errors = []
    list_type, at = schema.get(LIST_TYPE), f"{path}.{LIST_TYPE}"
    if list_type is not None and type_of(schema) != "array":
        errors.append(_wrong_type(schema, path, "array", LIST_TYPE))
    elif atomic_set_items:
        errors += _set_items(schema, path)
    if list_type is not None and list_type not in LIST_TYPES:
        errors.append(f.not_supported(at, list_type, LIST_TYPES))
    if schema.get(MAP_KEYS):
        why = f"must be map if {MAP_KEYS} is non-empty"
        if list_type is None:
            errors.append(f.required(at, why))
        elif list_type != "map":
            errors.append(f.invalid(at, list_type, why))
    return errors


def _set_items(schema: Schema, path: str) -> f.Errors:
    """Items of a set are compared as wholes."""
    if not has_structured_set_items(schema):
        return []
    items = schema["items"]
    # Upstream prints the list type for the map type too.
    shown = items.get(LIST_TYPE, NULL)
    key = LIST_TYPE if type_of(items) == "array" else MAP_TYPE
    why = f"must be atomic as item of a list with {LIST_TYPE}=set"
    return [f.invalid(f"{path}.items.{key}", shown, why)]


def has_structured_set_items(schema: Schema) -> bool:
    items = items_schema(schema)
    if schema.get(LIST_TYPE) != "set" or items is None:
        return False
    if type_of(items) == "array":
        return bool(items.get(LIST_TYPE, "atomic") != "atomic")
    return type_of(items) == "object" and items.get(MAP_TYPE) != "atomic"


def _map_list(schema: Schema, path: str) -> f.Errors:
    errors: f.Errors = []
    keys, items, at = schema.get(MAP_KEYS) or [], items_schema(schema), f"{path}.items"
    if not keys:
        why = f"must not be empty if {LIST_TYPE} is map"
        errors.append(f.required(f"{path}.{MAP_KEYS}", why))
    if "items" not in schema:
        errors.append(f.required(at, f"must have a schema if {LIST_TYPE} is map"))
    elif items is None:
        shown = gostructs.items(schema["items"])
        errors.append(f.invalid(at, shown, f"must only have a single schema if {LIST_TYPE} is map"))
    elif type_of(items) != "object":
        why = f"must be object if parent array's {LIST_TYPE} is map"
        errors.append(f.invalid(f"{at}.type", type_of(items), why))
    else:
        errors += _keys(keys, items, path)
    return errors


def _keys(keys: list[str], items: Schema, path: str) -> f.Errors:
    errors: f.Errors = []
    at = f"{path}.{MAP_KEYS}"
    for i, key in enumerate(keys):
        found = properties(items).get(key)
        if found is None:
            errors.append(f.invalid(at, keys, "entries must all be names of item properties"))
        elif type_of(found) in ("array", "object"):
            why = f"must be a scalar type if parent array's {LIST_TYPE} is map"
            # Upstream prints the items' type, not the key's.
            errors.append(f.invalid(f"{path}.items.properties[{key}].type", type_of(items), why))
        if key in keys[:i]:
            errors.append(f.invalid(at, keys, "must not contain duplicate entries"))
    return errors


def has_unsafe_keys(schema: Schema) -> bool:
    return bool(_safe_keys(schema, ""))


def _safe_keys(schema: Schema, path: str) -> f.Errors:
    """Nothing that tells items apart may be absent."""
    items, list_type = items_schema(schema), schema.get(LIST_TYPE)
    if items is None or list_type not in ("set", "map"):
        return []
    errors: f.Errors = []
    if items.get("nullable"):
        why = f"cannot be nullable when {LIST_TYPE} is {list_type}"
        errors.append(f.forbidden(f"{path}.items.nullable", why))
    if list_type == "set":
        return errors
    required = items.get("required") or ()
    for key in schema.get(MAP_KEYS) or ():
        found, at = properties(items).get(key), f"{path}.items.properties[{key}]"
        if found is None:
            continue
        this = f"this property is in {MAP_KEYS}, so it"
        if key not in required and "default" not in found:
            errors.append(
                f.required(f"{at}.default", f"{this} must have a default or be a required property")
            )
        if found.get("nullable"):
            errors.append(f.forbidden(f"{at}.nullable", f"{this} cannot be nullable"))
    return errors
