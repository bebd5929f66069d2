"""Definitions as the registry hands them to validation: decoded, with defaults, with stored versions."""

from __future__ import annotations

from typing import Any

from pilothouse.api import field as f
from pilothouse.api.defaults.apiextensions import custom_resource_definition
from pilothouse.api.schema.decode import Decoders
from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.schema.types import Types
from pilothouse.api.validation.apiextensions import definition

Obj = dict[str, Any]

_NAME = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"
_DECODE = Decoders().of(Types(Definitions.load("1.36")).get(_NAME))

ESTABLISHED = {"conditions": [{"type": "Established", "status": "True"}]}


def version(name: str = "v1", schema: Obj | None = None, **more: Any) -> Obj:
    """A version that is served; v1 is stored."""
    of = schema if schema is not None else {"type": "object"}
    return {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": of}, **more}


def crd(*versions: Obj, status: Obj | None = None, metadata: Obj | None = None, **spec: Any) -> Obj:
    whole: Obj = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": list(versions) or [version()],
        **spec,
    }
    name = f"{whole['names'].get('plural', '')}.{whole['group']}"
    given = {"metadata": {"name": name, **(metadata or {})}, "spec": whole, "status": status or {}}
    unknown: list[str] = []
    obj: Obj = _DECODE(given, unknown)
    assert unknown == []
    custom_resource_definition(obj)
    return obj


def texts(errors: f.Errors) -> list[str]:
    return [str(error) for error in errors]


def errors_of(*versions: Obj, **spec: Any) -> list[str]:
    """Errors of a new definition."""
    return texts(definition.validate(crd(*versions, **spec)))


def schema_errors(schema: Obj, **more: Any) -> list[str]:
    """Errors of a definition whose only version has this schema; `$` stands for its path."""
    found = errors_of(version(schema=schema, **more))
    return [text.replace("spec.validation.openAPIV3Schema", "$") for text in found]


def field_errors(field: Obj, **more: Any) -> list[str]:
    """Errors of a schema with one field, `a`; `$` stands for the field's path."""
    found = schema_errors({"type": "object", "properties": {"a": field}}, **more)
    return [text.replace("$.properties[a]", "$") for text in found]


def update_errors(old: Obj, new: Obj) -> list[str]:
    return texts(definition.validate_update(new, old))
