"""Paths and schemas put into the two document forms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.openapi.paths import PARAMETERS, Operation, Path
from pilothouse.apiserver.endpoints.openapi.schemas import V2_PREFIX, V3_PREFIX

_REASONS = {200: "OK", 201: "Created", 202: "Accepted"}
_UNAUTHORIZED = {"401": {"description": "Unauthorized"}}
_SECURITY = {
    "BearerToken": {
        "description": "Bearer Token authentication",
        "in": "header",
        "name": "authorization",
        "type": "apiKey",
    }
}


def definitions_of(paths: Iterable[Path]) -> set[str]:
    """The definitions that operations name."""
    found: set[str] = set()
    for path in paths:
        for operation in path.operations:
            found.update(name for _, name in operation.answers if name)
            if operation.body:
                found.add(operation.body)
    return found


def v3(paths: list[Path], schemas: dict[str, Obj], version: str = "unversioned") -> Obj:
    components: Obj = {"schemas": schemas} if schemas else {}
    components["securitySchemes"] = _SECURITY
    return {
        "components": components,
        "info": {"title": "Kubernetes", "version": version},
        "openapi": "3.0.0",
        "paths": {path.path: _v3_path(path) for path in paths},
    }


def _v3_path(path: Path) -> Obj:
    out: Obj = {operation.method: _v3_operation(operation, path.tag) for operation in path.operations}
    if path.parameters:
        out["parameters"] = [_V3_PARAMETERS[name] for name in path.parameters]
    return out


def _v3_parameter(name: str) -> Obj:
    p = PARAMETERS[name]
    out: Obj = {"description": p.description, "in": p.place, "name": p.name}
    if p.place == "path":
        out["required"] = True
    out["schema"] = {"type": p.type, "uniqueItems": True}
    return out


_V3_PARAMETERS = {name: _v3_parameter(name) for name in PARAMETERS}


def _v3_operation(operation: Operation, tag: str) -> Obj:
    out: Obj = {"description": operation.description, "operationId": operation.id}
    if operation.parameters:
        out["parameters"] = [_V3_PARAMETERS[name] for name in operation.parameters]
    if operation.body:
        body: Obj = {"schema": {"$ref": V3_PREFIX + operation.body}}
        content = {media_type: body for media_type in operation.consumes}
        out["requestBody"] = {"content": content, "required": True}
    responses: Obj = {}
    for code, definition in operation.answers:
        schema: Obj = {"schema": {"$ref": V3_PREFIX + definition} if definition else {"type": "string"}}
        content = {media_type: schema for media_type in operation.produces}
        responses[str(code)] = {"content": content, "description": _REASONS[code]}
    out["responses"] = responses | _UNAUTHORIZED
    out["tags"] = [tag]
    return out | _extensions(operation)


def _extensions(operation: Operation) -> Obj:
    out: Obj = {}
    if operation.action:
        out["x-kubernetes-action"] = operation.action
    if operation.kind:
        group, version, kind = operation.kind
        out["x-kubernetes-group-version-kind"] = {"group": group, "kind": kind, "version": version}
    return out


def v2(paths: list[Path], schemas: dict[str, Obj], version: str) -> Obj:
    return {
        "definitions": schemas,
        "info": {"title": "Kubernetes", "version": version},
        "parameters": {_shared(name): _v2_parameter(name) for name in sorted(PARAMETERS)},
        "paths": {path.path: _v2_path(path) for path in paths},
        "security": [{"BearerToken": []}],
        "securityDefinitions": _SECURITY,
        "swagger": "2.0",
    }


def _shared(name: str) -> str:
    """The name of a parameter in the document's table."""
    return f"{name}-shared"


def _v2_parameter(name: str) -> Obj:
    p = PARAMETERS[name]
    out: Obj = {"description": p.description, "in": p.place, "name": p.name}
    if p.place == "path":
        out["required"] = True
    return out | {"type": p.type, "uniqueItems": True}


_V2_REFERENCES = {name: {"$ref": f"#/parameters/{_shared(name)}"} for name in PARAMETERS}
_V2_PARAMETERS = {name: _v2_parameter(name) for name in PARAMETERS}


def _v2_path(path: Path) -> Obj:
    out: Obj = {operation.method: _v2_operation(operation, path.tag) for operation in path.operations}
    if path.parameters:
        out["parameters"] = [_V2_REFERENCES[name] for name in path.parameters]
    return out


def _v2_operation(operation: Operation, tag: str) -> Obj:
    # kubectl before 1.27 looks for dryRun and fieldValidation in the patch operation itself and does not
    # follow references there.
    table = _V2_PARAMETERS if operation.method == "patch" else _V2_REFERENCES
    parameters: list[Any] = [table[name] for name in operation.parameters]
    if operation.body:
        schema = {"$ref": V2_PREFIX + operation.body}
        parameters.insert(0, {"in": "body", "name": "body", "required": True, "schema": schema})
    out: Obj = {
        "consumes": list(operation.consumes),
        "description": operation.description,
        "operationId": operation.id,
    }
    if parameters:
        out["parameters"] = parameters
    out["produces"] = list(operation.produces)
    responses: Obj = {}
    for code, definition in operation.answers:
        schema = {"$ref": V2_PREFIX + definition} if definition else {"type": "string"}
        responses[str(code)] = {"description": _REASONS[code], "schema": schema}
    out["responses"] = responses | _UNAUTHORIZED
    out["schemes"] = ["https"]
    out["tags"] = [tag]
    return out | _extensions(operation)
