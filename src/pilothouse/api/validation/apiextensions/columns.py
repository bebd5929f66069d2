"""Printer columns (validation.ValidateCustomResourceColumnDefinition)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions.paths import simple_json_path

TYPES = ("boolean", "date", "integer", "number", "string")
FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")


def validate(column: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    if not column.get("name"):
        errors.append(f.required(f"{path}.name"))
    kind, form = column.get("type", ""), column.get("format", "")
    if not kind:
        errors.append(f.required(f"{path}.type", f"must be one of {','.join(TYPES)}"))
    elif kind not in TYPES:
        errors.append(f.invalid(f"{path}.type", kind, f"must be one of {','.join(TYPES)}"))
    if form and form not in FORMATS:
        errors.append(f.invalid(f"{path}.format", form, f"must be one of {','.join(FORMATS)}"))
    # The internal field has no JSON name, so the path has Go's.
    json_path = column.get("jsonPath", "")
    if not json_path:
        errors.append(f.required(f"{path}.JSONPath"))
    else:
        errors += simple_json_path(json_path, f"{path}.JSONPath")
    return errors
