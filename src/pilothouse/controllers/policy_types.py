"""Checks an admission policy's expressions against the types of what it matches
(k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go).

A policy compiles with `object` as anything. Here each expression is compiled again for each kind that its rules name,
with `object` as that kind's schema: what does not fit is a warning, never a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from pilothouse.api.cel import types as t
from pilothouse.api.cel.compiler import WITH_AUTHORIZER, CompileError, Environment
from pilothouse.api.cel.decl_types import JsonSchema, declared
from pilothouse.api.cel.types import CelType
from pilothouse.api.types import Obj

TYPES_MAX = 10
"""Kinds that one policy is checked for (maxTypesToCheck)."""
_VARIABLES = "kubernetes.variables"


class Kind(NamedTuple):
    group: str
    version: str
    kind: str

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"


class Schemas(Protocol):
    """What is served."""

    async def kind_of(self, group: str, version: str, resource: str) -> str | None: ...

    async def schema_of(self, kind: Kind) -> JsonSchema | None:
        """Without references; None when there is none."""


async def warnings(policy: Obj, schemas: Schemas) -> list[Obj]:
    """[{fieldRef, warning}, …] as in status.typeChecking.expressionWarnings."""
    spec = policy["spec"]
    types = {kind: await schemas.schema_of(kind) for kind in await kinds(policy, schemas)}
    param = spec.get("paramKind")
    params: CelType | None = None
    structs: dict[str, Mapping[str, CelType]] = {}
    if param:
        group, _, version = param["apiVersion"].rpartition("/")
        schema = await schemas.schema_of(Kind(group, version, param["kind"]))
        params = _type(schema, "PolicyParams", structs) if schema is not None else None
    environments = {
        kind: _environment(schema, params, structs, spec.get("variables") or ())
        for kind, schema in types.items()
        if schema is not None
    }
    out: list[Obj] = []
    for index, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            text = validation.get(field)
            found = "\n".join(_issues(text, environments)) if text else ""
            if found:
                out.append({"fieldRef": f"spec.validations[{index}].{field}", "warning": found})
    return out


async def kinds(policy: Obj, schemas: Schemas) -> list[Kind]:
    """The kinds that a policy's rules name one by one; a rule with a wildcard group or version names none."""
    found: set[Kind] = set()
    for rule in (policy["spec"].get("matchConstraints") or {}).get("resourceRules") or ():
        groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
        if any("*" in part for part in (*groups, *versions)):
            continue
        resources = [r for r in rule.get("resources") or () if "*" not in r and "/" not in r]
        count = 0
        for group in sorted(groups):
            for version in sorted(versions):
                for resource in sorted(resources):
                    kind = await schemas.kind_of(group, version, resource)
                    if kind is None:
                        continue
                    found.add(Kind(group, version, kind))
                    count += 1
                    if count == TYPES_MAX:
                        return sorted(found)
    return sorted(found)


def _environment(
    schema: JsonSchema,
    params: CelType | None,
    structs: Mapping[str, Mapping[str, CelType]],
    variables: Iterable[Obj],
) -> Environment:
    """`variables` are what the policy names for its expressions; one that does not compile is anything."""
    mine = dict(structs)
    kind = _type(schema, "PolicyObject", mine)
    made = WITH_AUTHORIZER.with_variables(object=kind, oldObject=kind)
    if params is not None:
        made = made.with_variables(params=params)
    for name, fields in mine.items():
        made = made.with_struct(name, fields)
    named: dict[str, CelType] = {}
    made = made.with_variables(variables=t.struct(_VARIABLES)).with_struct(_VARIABLES, named)
    for variable in variables:
        try:
            found = made.check(variable["expression"])
        except CompileError:
            found = t.DYN
        named = {**named, variable["name"]: found}
        made = made.with_struct(_VARIABLES, named)
    return made


def _type(schema: JsonSchema, name: str, structs: dict[str, Mapping[str, CelType]]) -> CelType:
    found = declared(schema, is_root=True)
    return found.named(name, structs).cel if found is not None else t.DYN


def _issues(expression: str, environments: Mapping[Kind, Environment]) -> Iterable[str]:
    for kind, environment in environments.items():
        try:
            environment.check(expression)
        except CompileError as error:
            yield f"{kind}: {str(error).removeprefix('compilation failed: ')}\n"


def resolved(schema: Any, definitions: Mapping[str, Any], within: frozenset[str] = frozenset()) -> JsonSchema:
    """An OpenAPI v3 schema with its references put in; one that would go round is anything.

    {"allOf": [{"$ref": "#/components/schemas/X"}], "default": {}} → X's own schema
    """
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in within or name not in definitions:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return resolved(definitions[name], definitions, within | {name})
    if len(schema.get("allOf") or ()) == 1:
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        return {**resolved(schema["allOf"][0], definitions, within), **rest}
    out = dict(schema)
    if "properties" in schema:
        properties = schema["properties"].items()
        out["properties"] = {name: resolved(inner, definitions, within) for name, inner in properties}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            out[key] = resolved(schema[key], definitions, within)
    return _scalar(out)


def _scalar(schema: dict[str, Any]) -> JsonSchema:
    """Numbers or strings, and quantities, as OpenAPI v3 writes them."""
    if schema.get("format") == "int-or-string":
        return {**schema, "x-kubernetes-int-or-string": True}
    types = {option.get("type") for option in schema.get("oneOf") or ()}
    if "type" not in schema and types == {"string", "number"}:
        return {**schema, "type": "string"}
    return schema
