"""A definition's versions (validation.validateCustomResourceDefinitionVersion and what the spec says of all of
them)."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names as forms
from pilothouse.api.validation.apiextensions import (
    columns,
    gostructs,
    internal,
    schema,
    selectable_fields,
    structural,
    subresources,
)
from pilothouse.api.validation.apiextensions.options import Options
from pilothouse.api.validation.gotext import NULL

_WARNING_BYTES_MAX = 256


def validate(spec: Obj, options: Options, path: str) -> f.Errors:
    """`spec` in its internal form."""
    errors: f.Errors = []
    versions, at = internal.versions(spec), f"{path}.versions"
    names = [version.get("name", "") for version in versions]
    for i, version in enumerate(versions):
        errors += _name(names[i], f"{at}[{i}].name")
        errors += _version(version, f"{at}[{i}]", _has_status(spec, version), options)
    faults = []
    if len(set(names)) < len(names):
        faults.append("must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        faults.append("must have exactly one version marked as storage version")
    if faults:
        shown = NULL if spec.get("versions") is None else gostructs.versions(versions)
        errors += [f.invalid(at, shown, why) for why in faults]
    if spec.get("version"):
        errors += _name(spec["version"], f"{path}.version")
    return errors


def _name(name: str, path: str) -> f.Errors:
    texts = forms.is_dns1035_label(name)
    return [f.invalid(path, name, ",".join(texts))] if texts else []


def _has_status(spec: Obj, version: Obj) -> bool:
    alike = all(other.get("subresources") is None for other in internal.versions(spec))
    return subresources.has_status((spec if alike else version).get("subresources"))


def _version(version: Obj, path: str, has_status: bool, options: Options) -> f.Errors:
    errors = _deprecation(version, f"{path}.deprecationWarning")
    options = options.for_version(version.get("name", ""))
    errors += schema.validate(version.get("schema"), f"{path}.schema", options, has_status=has_status)
    errors += subresources.validate(version.get("subresources"), f"{path}.subresources")
    for i, column in enumerate(version.get("additionalPrinterColumns") or ()):
        errors += columns.validate(column, f"{path}.additionalPrinterColumns[{i}]")
    return errors + _selectable_fields(version, path, options)


def _selectable_fields(version: Obj, path: str, options: Options) -> f.Errors:
    fields, at = version.get("selectableFields"), f"{path}.selectableFields"
    if not fields:
        return []
    of = internal.open_api_schema(version.get("schema"))
    if of is None:
        why = "may only be set when `version.schema.openAPIV3Schema` is not included"
        return [f.invalid(at, "", why)]
    why = structural.conversion_error(of)
    errors = [f.invalid(f"{path}.schema.openAPIV3Schema", "", why)] if why else []
    allow_many = version.get("name", "") in options.many_selectable_fields
    return errors + selectable_fields.validate(fields, of, at, allow_many=allow_many)


def _deprecation(version: Obj, path: str) -> f.Errors:
    warning = version.get("deprecationWarning")
    if warning is None:
        return []
    if not version.get("deprecated"):
        return [f.invalid(path, warning, "can only be set for deprecated versions")]
    return [f.invalid(path, warning, why) for why in _warning_faults(warning)]


def _warning_faults(warning: str) -> list[str]:
    faults = []
    if len(warning.encode()) > _WARNING_BYTES_MAX:
        faults.append(f"must be <= {_WARNING_BYTES_MAX} characters long")
    if not warning:
        faults.append("must not be an empty string")
    bad = next((i for i, char in enumerate(warning) if not char.isprintable()), None)
    if bad is not None:
        faults.append(
            "must only contain printable UTF-8 characters; non-printable character found at index "
            f"{len(warning[:bad].encode())}"
        )
    return faults


def stored_versions(stored: Sequence[str] | None, versions: Sequence[Obj], path: str) -> f.Errors:
    """What was ever stored must still be readable (ValidateCustomResourceDefinitionStoredVersions)."""
    if not stored:
        shown = NULL if stored is None else stored
        return [f.invalid(path, shown, "must have at least one stored version")]
    names = [version.get("name", "") for version in versions]
    errors: f.Errors = []
    left = {name: i for i, name in enumerate(stored)}
    for version, name in zip(versions, names, strict=True):
        if version.get("storage") and name not in left:
            errors.append(f.invalid(path, stored, f"must have the storage version {name}"))
        left.pop(name, None)
    for name, i in left.items():
        why = (
            f"missing from spec.versions; {name} was previously a storage version, and must remain in "
            f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
            f"{name} from status.storedVersions"
        )
        errors.append(f.invalid(f"{path}[{i}]", name, why))
    return errors
