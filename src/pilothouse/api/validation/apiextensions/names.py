"""A definition's names, in spec and in status (validation.ValidateCustomResourceDefinitionNames)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names as forms

_REQUIRED = ("plural", "singular", "kind", "listKind")


def required(names: Obj, path: str) -> f.Errors:
    """What a spec must name; a status need not."""
    return [f.required(f"{path}.{key}") for key in _REQUIRED if not names.get(key)]


def validate(names: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    for key in ("plural", "singular"):
        errors += _label(names.get(key, ""), f"{path}.{key}")
    kind, list_kind = names.get("kind", ""), names.get("listKind", "")
    errors += _mixed_case(kind, f"{path}.kind") + _mixed_case(list_kind, f"{path}.listKind")
    for i, name in enumerate(names.get("shortNames") or ()):
        errors += _label(name, f"{path}.shortNames[{i}]", may_be_empty=False)
    if kind and kind == list_kind:
        errors.append(f.invalid(f"{path}.listKind", list_kind, "kind and listKind may not be the same"))
    for i, name in enumerate(names.get("categories") or ()):
        errors += _label(name, f"{path}.categories[{i}]", may_be_empty=False)
    return errors


def _label(name: str, path: str, *, may_be_empty: bool = True) -> f.Errors:
    if not name and may_be_empty:
        return []
    texts = forms.is_dns1035_label(name)
    return [f.invalid(path, name, ",".join(texts))] if texts else []


def _mixed_case(name: str, path: str) -> f.Errors:
    texts = forms.is_dns1035_label(name.lower()) if name else []
    if not texts:
        return []
    why = f"may have mixed case, but should otherwise match: {','.join(texts)}"
    return [f.invalid(path, name, why)]
