"""Compile an expression as the API server does when it validates one.

Source: k8s.io/apiserver/pkg/admission/plugin/cel/compile.go.

    POLICY.with_variables(params=DYN).compile("object.spec.replicas < 5", BOOL)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pilothouse.api.cel import types as t
from pilothouse.api.cel.check import Checker, Scope
from pilothouse.api.cel.declarations import AUTHORIZER, FUNCTIONS, QUANTITY, RESOURCE_CHECK, Overload
from pilothouse.api.cel.evaluate import EvalError, Function, evaluate
from pilothouse.api.cel.functions import FUNCTIONS as IMPLEMENTATIONS
from pilothouse.api.cel.syntax import CelSyntaxError, Expr, Tree, parse
from pilothouse.api.cel.types import CelType, Fields
from pilothouse.api.go_regex_syntax import regexp_error


class CompileError(ValueError):
    """The text is an error's detail: `compilation failed: …` or `must evaluate to …`."""


@dataclass(frozen=True, slots=True)
class Program:
    """A checked expression. `type` is what it evaluates to; `types` and `overloads` are what the checker found
    of every node and call, by id."""

    tree: Tree
    type: CelType
    types: Mapping[int, CelType] = field(default_factory=dict)
    overloads: Mapping[int, Sequence[Overload]] = field(default_factory=dict)

    def evaluate(
        self, variables: Mapping[str, Any], functions: Mapping[str, Function] = IMPLEMENTATIONS
    ) -> Any:
        """Its value; see `evaluate` for what values are. Raises EvalError."""
        return evaluate(self.tree, variables, functions)


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables, functions and structs that an expression may name. The `with_` methods make another one."""

    variables: Mapping[str, CelType] = field(default_factory=dict)
    functions: Mapping[str, Sequence[Overload]] = field(default_factory=lambda: FUNCTIONS)
    structs: Mapping[str, Fields] = field(default_factory=dict)

    def with_variables(self, /, **variables: CelType) -> Environment:
        return replace(self, variables={**self.variables, **variables})

    def with_struct(self, name: str, fields: Fields) -> Environment:
        return replace(self, structs={**self.structs, name: fields})

    def with_functions(self, functions: Mapping[str, Sequence[Overload]]) -> Environment:
        return replace(self, functions={**self.functions, **functions})

    def check(self, expression: str) -> CelType:
        """The expression's type. Raises CompileError with the compiler's issues."""
        return self.program(expression).type

    def program(self, expression: str) -> Program:
        """The expression, ready to run. Raises CompileError; parsing is the dear part, so keep programs."""
        try:
            tree = parse(expression)
        except CelSyntaxError as error:
            raise CompileError(f"compilation failed: {error}") from None
        checker = Checker(tree, Scope(self.variables, self.functions, self.structs))
        result = checker.check()
        errors = checker.errors or _bad_literals(tree.root)
        if errors:
            found = [(tree.positions.get(node, 0), text) for node, text in errors]
            raise CompileError(f"compilation failed: {_issues(expression, found)}")
        return Program(tree, result, checker.types(), checker.overloads)

    def compile(self, expression: str, *wanted: CelType) -> CelType:
        """As `check`, and the result is one of the wanted types (or `wanted` names any)."""
        result = self.check(expression)
        if not wanted or result in wanted or t.ANY in wanted:
            return result
        if len(wanted) == 1:
            raise CompileError(f"must evaluate to {wanted[0]} but got {result}")
        names = " ".join(str(w) for w in wanted)
        raise CompileError(f"must evaluate to one of [{names}] but got {result}")


def _check_pattern(text: str) -> None:
    why = regexp_error(text)
    if why:
        raise EvalError(why)


_LITERALS: dict[str, Callable[[str], object]] = {
    "duration": IMPLEMENTATIONS["duration"],
    "timestamp": IMPLEMENTATIONS["timestamp"],
    "matches": _check_pattern,
}


def _bad_literals(node: Expr) -> list[tuple[int, str]]:
    """Literal durations, times and patterns that can never be (cel-go's cel/validator.go)."""
    found: list[tuple[int, str]] = []
    first = node.args[0] if node.kind == "call" and node.args else None
    if node.name in _LITERALS and first is not None and isinstance(first.value, str):
        try:
            _LITERALS[node.name](first.value)
        except EvalError:
            found.append((first.id, f"invalid {node.name} argument"))
    inner = [*node.args, *(entry.value for entry in node.entries)]
    for child in [node.target, *inner] if node.target else inner:
        found += _bad_literals(child)
    return found


_ERRORS_MAX = 100


def _issues(expression: str, errors: Sequence[tuple[int, str]]) -> str:
    """All errors by where they are; upstream keeps a hundred."""
    ordered = sorted(errors, key=lambda error: error[0])
    texts = [_issue(expression, offset, text) for offset, text in ordered[:_ERRORS_MAX]]
    if len(ordered) > _ERRORS_MAX:
        texts.append(f"{len(ordered) - _ERRORS_MAX} more errors were truncated")
    return "\n".join(texts)


_WIDE_DOT, _WIDE_MARK = "．", "＾"


def _issue(expression: str, offset: int, text: str) -> str:
    """One error with the line it is in and a mark below (cel-go's common/error.go)."""
    before = expression[:offset]
    line = before.count("\n") + 1
    column = offset - (before.rfind("\n") + 1)
    source = expression.split("\n")[line - 1].replace("\t", " ")
    dots = "".join("." if ord(ch) < 0x80 else _WIDE_DOT for ch in source[:column])
    mark = _WIDE_MARK if column < len(source) and ord(source[column]) >= 0x80 else "^"
    return f"ERROR: <input>:{line}:{column + 1}: {text}\n | {source}\n | {dots}{mark}"


_STRINGS = t.list_of(t.STRING)
_GVK = {"group": t.STRING, "version": t.STRING, "kind": t.STRING}
_GVR = {"group": t.STRING, "version": t.STRING, "resource": t.STRING}
_USER = {
    "username": t.STRING,
    "uid": t.STRING,
    "groups": _STRINGS,
    "extra": t.map_of(t.STRING, _STRINGS),
}
_REQUEST = {
    "kind": t.struct("kubernetes.GroupVersionKind"),
    "resource": t.struct("kubernetes.GroupVersionResource"),
    "subResource": t.STRING,
    "requestKind": t.struct("kubernetes.GroupVersionKind"),
    "requestResource": t.struct("kubernetes.GroupVersionResource"),
    "requestSubResource": t.STRING,
    "name": t.STRING,
    "namespace": t.STRING,
    "operation": t.STRING,
    "userInfo": t.struct("kubernetes.UserInfo"),
    "dryRun": t.BOOL,
    "options": t.DYN,
}
_NAMESPACE = {
    "metadata": t.struct("kubernetes.NamespaceMetadata"),
    "spec": t.struct("kubernetes.NamespaceSpec"),
    "status": t.struct("kubernetes.NamespaceStatus"),
}
_NAMESPACE_METADATA = {
    "name": t.STRING,
    "generateName": t.STRING,
    "namespace": t.STRING,
    "labels": t.map_of(t.STRING, t.STRING),
    "annotations": t.map_of(t.STRING, t.STRING),
    "UID": t.STRING,
    "creationTimestamp": t.TIMESTAMP,
    "deletionGracePeriodSeconds": t.INT,
    "deletionTimestamp": t.TIMESTAMP,
    "generation": t.INT,
    "resourceVersion": t.STRING,
    "finalizers": _STRINGS,
}
_NAMESPACE_CONDITION = {
    "status": t.STRING,
    "type": t.STRING,
    "lastTransitionTime": t.TIMESTAMP,
    "message": t.STRING,
    "reason": t.STRING,
}

POLICY = Environment(
    variables={
        "object": t.DYN,
        "oldObject": t.DYN,
        "request": t.struct("kubernetes.AdmissionRequest"),
        "namespaceObject": t.struct("kubernetes.Namespace"),
    },
    structs={
        "kubernetes.AdmissionRequest": _REQUEST,
        "kubernetes.GroupVersionKind": _GVK,
        "kubernetes.GroupVersionResource": _GVR,
        "kubernetes.UserInfo": _USER,
        "kubernetes.Namespace": _NAMESPACE,
        "kubernetes.NamespaceMetadata": _NAMESPACE_METADATA,
        "kubernetes.NamespaceSpec": {"finalizers": _STRINGS},
        "kubernetes.NamespaceStatus": {
            "conditions": t.list_of(t.struct("kubernetes.NamespaceCondition")),
            "phase": t.STRING,
        },
        "kubernetes.NamespaceCondition": _NAMESPACE_CONDITION,
    },
)
"""What admission policies and match conditions see; parameters are added where there are any."""

WITH_AUTHORIZER = replace(
    POLICY,
    variables={
        **POLICY.variables,
        "authorizer": AUTHORIZER,
        "authorizer.requestResource": RESOURCE_CHECK,
    },
)

_BY_DOMAIN = t.map_of(t.STRING, t.map_of(t.STRING, t.ANY))

DEVICE = Environment(
    variables={"device": t.struct("kubernetes.DRADevice")},
    structs={
        "kubernetes.DRADevice": {
            "driver": t.STRING,
            "attributes": _BY_DOMAIN,
            "capacity": t.map_of(t.STRING, t.map_of(t.STRING, QUANTITY)),
            "allowMultipleAllocations": t.BOOL,
        }
    },
)
"""What device selectors see (k8s.io/dynamic-resource-allocation/cel)."""
