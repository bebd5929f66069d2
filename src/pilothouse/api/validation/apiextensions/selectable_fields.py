"""Fields that clients may select by (validation.ValidateCustomResourceSelectableFields)."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions.paths import BadPath, field_path
from pilothouse.api.validation.apiextensions.props import Schema, type_of

COUNT_MAX = 8
_TYPES = ("string", "boolean", "integer")
_TYPE_TEXT = (
    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are "
    "allowed."
)


def validate(fields: Sequence[Obj], schema: Schema, path: str, *, allow_many: bool) -> f.Errors:
    """`allow_many`: the stored definition already has too many, and they are the same."""
    errors: f.Errors = []
    seen: set[str] = set()
    for i, selectable in enumerate(fields):
        at, json_path = f"{path}[{i}].jsonPath", selectable.get("jsonPath", "")
        if not json_path:
            errors.append(f.required(at))
            continue
        try:
            found = field_path(json_path, schema, allow_keys=False)
        except BadPath as error:
            errors.append(f.invalid(at, json_path, f"is an invalid path: {error}"))
            continue
        if found.root == "metadata":
            errors.append(f.invalid(at, json_path, "must not point to fields in metadata"))
        if type_of(found.schema) not in _TYPES:
            errors.append(f.invalid(at, json_path, _TYPE_TEXT))
        if found.text in seen:
            errors.append(f.duplicate(at, json_path))
        seen.add(found.text)
    if len(seen) > COUNT_MAX and not allow_many:
        errors.append(f.too_many(path, len(seen), COUNT_MAX))
    return errors
