"""A whole CustomResourceDefinition: on create, on update, and its status (validation.ValidateCustomResourceDefinition,
…Update, ValidateUpdateCustomResourceDefinitionStatus). Metadata is validated by the registry, but for the name.
"""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions import approval, internal, names, options, spec, versions

_NAME = 'must be spec.names.plural+"."+spec.group'


def validate(obj: Obj) -> f.Errors:
    inner = internal.spec(obj["spec"])
    errors = _name(obj) + spec.validate(inner, options.Options())
    return errors + _rest(obj, None)


def validate_update(obj: Obj, old: Obj) -> f.Errors:
    inner, before = internal.spec(obj["spec"]), internal.spec(old["spec"])
    errors = spec.validate_update(inner, before, options.for_update(obj, old))
    return errors + _rest(obj, old)


def validate_status(obj: Obj) -> f.Errors:
    return names.validate(obj["status"].get("acceptedNames") or {}, "status.acceptedNames")


def _name(obj: Obj) -> f.Errors:
    wanted = f"{obj['spec']['names'].get('plural', '')}.{obj['spec'].get('group', '')}"
    given = {key: obj["metadata"].get(key, "") for key in ("generateName", "name")}
    return [
        f.invalid(f"metadata.{key}", value, _NAME)
        for key, value in given.items()
        if value and value != wanted
    ]


def _rest(obj: Obj, old: Obj | None) -> f.Errors:
    stored = obj["status"].get("storedVersions")
    errors = validate_status(obj)
    errors += versions.stored_versions(stored, obj["spec"].get("versions") or [], "status.storedVersions")
    errors += approval.validate(obj, old)
    return errors + _preserve_unknown_fields(obj, old)


def _preserve_unknown_fields(obj: Obj, old: Obj | None) -> f.Errors:
    if old is not None and old["spec"].get("preserveUnknownFields"):
        return []
    if not obj["spec"].get("preserveUnknownFields"):
        return []
    why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
    return [f.invalid("spec.preserveUnknownFields", True, why)]
