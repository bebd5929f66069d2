"""Rules on a schema's values: x-kubernetes-validations, compiled
(k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/compilation.go)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.api.cel import types as t
from pilothouse.api.cel.compiler import CompileError, Environment, Program
from pilothouse.api.cel.cost import cost_max
from pilothouse.api.cel.decl_types import REQUEST_BYTES_MAX, DeclType
from pilothouse.api.cel.syntax import Expr
from pilothouse.api.cel.types import CelType

Rule = Mapping[str, Any]

_SELF, _OLD_SELF = "self", "oldSelf"
_TYPE_NAME = "selfType"
"""Upstream's ends in a number that is another one each time, so that nobody gets used to it."""


@dataclass(slots=True)
class CompiledRule:
    """One rule. `error` and `message_error` say what is wrong with the rule and with its messageExpression; costs
    are the most that one evaluation can take."""

    program: Program | None = None
    error: str = ""
    uses_old_self: bool = False
    cost_max: int = 0
    message: Program | None = None
    message_error: str = ""
    message_cost_max: int = 0


class RuleCompiler:
    """Compiles rules on values of one type."""

    def __init__(self, declared: DeclType) -> None:
        structs: dict[str, Mapping[str, CelType]] = {}
        self._declared = declared
        scoped = declared.named(_TYPE_NAME, structs).cel
        optional = t.optional_of(scoped)
        self._plain = Environment({_SELF: scoped, _OLD_SELF: scoped}, structs=structs)
        self._optional = Environment({_SELF: scoped, _OLD_SELF: optional}, structs=structs)

    def compile(self, rule: Rule) -> CompiledRule:
        environment = self._optional if rule.get("optionalOldSelf") else self._plain
        compiled = CompiledRule()
        expression = rule.get("rule", "")
        if not expression.strip():
            return compiled
        try:
            program = environment.program(expression)
        except CompileError as error:
            compiled.error = str(error)
            return compiled
        if program.type != t.BOOL:
            compiled.error = "cel expression must evaluate to a bool"
            return compiled
        compiled.program = program
        compiled.uses_old_self = _names(program.tree.root, _OLD_SELF)
        compiled.cost_max = cost_max(program, self._declared)
        if rule.get("messageExpression"):
            self._compile_message(environment, rule["messageExpression"], compiled)
        return compiled

    def _compile_message(self, environment: Environment, expression: str, compiled: CompiledRule) -> None:
        try:
            program = environment.program(expression)
        except CompileError as error:
            compiled.message_error = f"messageExpression {error}"
            return
        if program.type != t.STRING:
            compiled.message_error = "messageExpression must evaluate to a string"
            return
        compiled.message = program
        compiled.message_cost_max = cost_max(program, self._declared)


def cardinality_max(declared: DeclType) -> int:
    """How often values of a type can stand in one request, with a comma after each."""
    return REQUEST_BYTES_MAX // (declared.bytes_min + 1)


def _names(node: Expr, name: str) -> bool:
    """Whether an expression uses a name, for whatever."""
    if node.kind == "ident" and node.name == name:
        return True
    entries = [part for entry in node.entries for part in (entry.key, entry.value) if isinstance(part, Expr)]
    inner = [*node.args, *entries, *([node.target] if node.target is not None else [])]
    return any(_names(child, name) for child in inner)
