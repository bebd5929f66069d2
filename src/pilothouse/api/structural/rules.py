"""x-kubernetes-validations at run time (pkg/apiserver/schema/cel/validation.go).

Rules are compiled once per schema. A rule that names `oldSelf` runs only where an old value corresponds: it lies
under the same keys, and inside lists under the same list-map key. Other rules may be broken by what an update
leaves alone: that is a warning then (KEP-4008).

    Rules(schema).run(new, old) → errors, warnings
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pilothouse.api import field as f
from pilothouse.api.cel import metering
from pilothouse.api.cel import types as t
from pilothouse.api.cel.compiler import CompileError, Environment, Program
from pilothouse.api.cel.evaluate import NONE, EvalError, Optional
from pilothouse.api.cel.syntax import Expr
from pilothouse.api.structural.correlation import MISSING, Elements, same
from pilothouse.api.structural.declared import Declared, declare, to_cel
from pilothouse.api.structural.schema import JsonSchema, Structural, structural
from pilothouse.api.structural.values import NOWHERE

log = logging.getLogger(__name__)

CALL_COST_MAX = 1_000_000
"""Of one rule (apis/cel PerCallLimit)."""
OBJECT_COST_MAX = 10_000_000
"""Of all rules of one object (RuntimeCELCostBudget)."""
_MESSAGE_BYTES_MAX = 5 * 1024
_OUT_OF_BUDGET = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


@dataclass(slots=True)
class Outcome:
    """What the rules say of an object."""

    errors: f.Errors = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class Rules:
    """The rules of a schema; `empty` when it has none, and then nothing needs to be asked."""

    def __init__(self, schema: Structural, *, root: bool = True) -> None:
        declared = declare(schema, root=root)
        self._node = _node(schema, schema, declared, root=root) if declared is not None else None

    @property
    def empty(self) -> bool:
        return self._node is None

    def run(self, value: Any, old: Any = None) -> Outcome:
        """Check a value; `old` is what it replaces, None for a new one."""
        outcome = Outcome()
        if self._node is not None:
            budget = _Budget(OBJECT_COST_MAX)
            ratchet = _Ratchet(old if old is not None else MISSING)
            try:
                self._node.check(value, old, "", ratchet, budget, outcome)
            except _Stop:
                log.debug("validation rules were stopped: %s", outcome.errors[-1])
        return outcome


class _Stop(Exception):
    """No further rules are run; the errors say why."""


@dataclass(slots=True)
class _Budget:
    left: int


@dataclass(slots=True)
class _Ratchet:
    """The old value at a node, for forgiveness: MISSING when none corresponds, and then `unchanged` tells
    whether the nearest ancestor that has one did not change."""

    old: Any
    unchanged: bool | None = None

    def forgives(self, value: Any) -> bool:
        if self.old is MISSING:
            return bool(self.unchanged)
        return same(value, self.old)

    def inside(self, parent: Any, old: Any) -> _Ratchet:
        """The node below, where `old` lies."""
        if self.old is MISSING:
            return self
        return _Ratchet(old, same(parent, self.old) if old is MISSING else None)


class _Rule(NamedTuple):
    """One compiled rule; `failure` says why it could not be compiled."""

    source: JsonSchema
    program: Program | None
    message: Program | None
    uses_old: bool
    optional_old: bool
    path: str
    failure: str = ""

    @property
    def text(self) -> str:
        return str(self.source.get("message") or self.source["rule"]).strip()

    @property
    def default_message(self) -> str:
        message = self.source.get("message")
        return str(message).strip() if message else f"failed rule: {self.text}"


@dataclass(eq=False, slots=True)
class _Node:
    schema: Structural
    declared: Declared
    rules: list[_Rule]
    properties: dict[str, _Node]
    additional: _Node | None
    items: _Node | None
    all_of: list[_Node]

    def check(
        self, value: Any, old: Any, path: str, ratchet: _Ratchet, budget: _Budget, outcome: Outcome
    ) -> None:
        if value is None:
            return
        if self.rules:
            _Evaluation(self, value, old, path, ratchet, budget, outcome).run()
        for branch in self.all_of:
            branch.check(value, old, path, _Ratchet(MISSING, ratchet.unchanged), budget, outcome)
        if type(value) is dict:
            self._check_map(value, old, path, ratchet, budget, outcome)
        elif type(value) is list and self.items is not None:
            self._check_list(value, old, path, ratchet, budget, outcome)

    def _check_map(
        self,
        value: dict[str, Any],
        old: Any,
        path: str,
        ratchet: _Ratchet,
        budget: _Budget,
        outcome: Outcome,
    ) -> None:
        atomic = self.schema.map_type == "atomic"
        before = old if type(old) is dict and not atomic else {}
        forgiven = ratchet.old if type(ratchet.old) is dict and not atomic else {}
        if self.additional is not None:
            for key, inner in value.items():
                below = ratchet.inside(value, forgiven.get(key, MISSING))
                self.additional.check(inner, before.get(key), f"{path}[{key}]", below, budget, outcome)
        for key, node in self.properties.items():
            if key in value:
                below = ratchet.inside(value, forgiven.get(key, MISSING))
                where = f"{path}.{key}" if path else key
                node.check(value[key], before.get(key), where, below, budget, outcome)

    def _check_list(
        self, value: list[Any], old: Any, path: str, ratchet: _Ratchet, budget: _Budget, outcome: Outcome
    ) -> None:
        assert self.items is not None
        # Transition rules follow map lists alone, forgiveness also lists without a type.
        before = Elements(self.schema.raw, old if self.schema.list_type == "map" else None)
        forgiven = Elements(self.schema.raw, ratchet.old)
        for index, item in enumerate(value):
            was = before.of(index, item)
            below = ratchet.inside(value, forgiven.of(index, item))
            old_item = None if was is MISSING else was
            self.items.check(item, old_item, f"{path}[{index}]", below, budget, outcome)


class _Evaluation:
    """The rules of one node, run on one value."""

    def __init__(
        self,
        node: _Node,
        value: Any,
        old: Any,
        path: str,
        ratchet: _Ratchet,
        budget: _Budget,
        outcome: Outcome,
    ) -> None:
        self._node = node
        self._value = value
        self._old = old
        self._path = path or NOWHERE
        self._ratchet = ratchet
        self._budget = budget
        self._outcome = outcome

    def run(self) -> None:
        declared = self._node.declared
        variables: dict[str, Any] = {"self": to_cel(declared, self._value)}
        old = to_cel(declared, self._old)
        for rule in self._node.rules:
            if rule.failure:
                self._fail(f.invalid(self._path, self._shown(), rule.failure))
                continue
            if rule.uses_old:
                if self._old is None and not rule.optional_old:
                    continue
                known = Optional(True, old) if self._old is not None else NONE
                variables["oldSelf"] = known if rule.optional_old else old
            self._run_rule(rule, variables)

    def _run_rule(self, rule: _Rule, variables: dict[str, Any]) -> None:
        if self._budget.left <= 0:
            self._stop(_OUT_OF_BUDGET)
        assert rule.program is not None
        try:
            value, error, cost = metering.run(rule.program.tree, variables, CALL_COST_MAX)
        except metering.CostExceeded:
            self._stop(
                "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due "
                f"to call cost exceeds limit for rule: {rule.text}"
            )
        self._spend(cost, _OUT_OF_BUDGET)
        if error is not None:
            self._fail(f.invalid(self._path, self._shown(), _failure(error, rule)))
        elif value is not True:
            self._report(rule, variables)

    def _spend(self, cost: int, message: str) -> None:
        if cost > self._budget.left:
            self._stop(message)
        self._budget.left -= cost

    def _stop(self, detail: str) -> None:
        self._fail(f.invalid(self._path, self._shown(), detail))
        raise _Stop

    def _fail(self, error: f.FieldError) -> None:
        self._outcome.errors.append(error)

    def _shown(self) -> Any:
        """Simple values are printed; of maps and lists nothing is (kubernetes/kubernetes#133832)."""
        value = self._value
        return f.OMITTED if isinstance(value, (dict, list)) else value

    def _report(self, rule: _Rule, variables: dict[str, Any]) -> None:
        path = self._path
        if rule.path:
            path = rule.path if path == NOWHERE else f"{path}.{rule.path}"
        detail = self._message(rule, variables) or rule.default_message
        error = _field_error(path, self._shown(), detail, rule.source.get("reason"))
        if not rule.uses_old and self._ratchet.forgives(self._value):
            self._outcome.warnings.append(str(error))
        else:
            self._fail(error)

    def _message(self, rule: _Rule, variables: dict[str, Any]) -> str:
        """What the rule's messageExpression says; "" for nothing that can be used."""
        if rule.message is None:
            return ""
        source = rule.source["messageExpression"]
        try:
            value, error, cost = metering.run(rule.message.tree, variables, CALL_COST_MAX)
        except metering.CostExceeded:
            self._stop(
                "no further validation rules will be run due to call cost exceeds limit for "
                f"messageExpression: {f.go_quote(source)}"
            )
        self._spend(
            cost,
            "messageExpression evaluation failed due to running out of cost budget, no further validation "
            "rules will be run",
        )
        if error is not None or not isinstance(value, str):
            log.debug("messageExpression %s failed: %s", source, error)
            return ""
        text = value.strip()
        return "" if len(text.encode()) > _MESSAGE_BYTES_MAX or "\n" in text else text


def _failure(error: EvalError, rule: _Rule) -> str:
    text = str(error)
    if text.startswith("no such overload"):
        return (
            f"'{text}': call arguments did not match a supported operator, function or macro signature for "
            f"rule: {rule.text}"
        )
    return f"{text} evaluating rule: {rule.text}"


def _field_error(path: str, value: Any, detail: str, reason: str | None) -> f.FieldError:
    if reason == "FieldValueForbidden":
        return f.forbidden(path, detail)
    if reason == "FieldValueRequired":
        return f.required(path, detail)
    if reason == "FieldValueDuplicate":
        return f.duplicate(path, value)
    return f.invalid(path, value, detail)


# -- compiling ------------------------------------------------------------------------------------------


def _node(spine: Structural, rules_of: Structural, declared: Declared, *, root: bool) -> _Node | None:
    """None when neither the node nor what lies below has rules. `rules_of` is where the rules are written: the
    schema itself, or a branch of its allOf."""
    properties: dict[str, _Node] = {}
    for name, inner in rules_of.properties.items():
        found = _below(spine.properties.get(name), inner)
        if found is not None:
            properties[name] = found
    node = _Node(
        schema=spine,
        declared=declared,
        rules=_compiled(rules_of, spine, declared),
        properties=properties,
        additional=_below(spine.described, rules_of.described),
        items=_below(spine.items, rules_of.items),
        all_of=[
            found
            for branch in rules_of.raw.get("allOf") or ()
            if (found := _node(spine, structural(branch), declared, root=root)) is not None
        ],
    )
    if node.rules or node.properties or node.additional or node.items or node.all_of:
        return node
    return None


def _below(spine: Structural | None, rules_of: Structural | None) -> _Node | None:
    if spine is None or rules_of is None or not _has_rules(rules_of):
        return None
    declared = declare(spine, root=spine.embedded)
    return _node(spine, rules_of, declared, root=spine.embedded) if declared is not None else None


def _has_rules(schema: Structural) -> bool:
    if schema.validations or any(_has_rules(inner) for inner in schema.properties.values()):
        return True
    inner = [schema.items, schema.described]
    if any(found is not None and _has_rules(found) for found in inner):
        return True
    return any(_has_rules(structural(branch)) for branch in schema.raw.get("allOf") or ())


def environment(declared: Declared, *, optional_old: bool = False) -> Environment:
    """What a rule may name: `self`, and `oldSelf` as it is or as an optional."""
    old = t.optional_of(declared.type) if optional_old else declared.type
    made = Environment().with_variables(self=declared.type, oldSelf=old)
    for name, fields in declared.structs.items():
        made = made.with_struct(name, fields)
    return made


def _compiled(rules_of: Structural, spine: Structural, declared: Declared) -> list[_Rule]:
    return [_compile(rule, spine, declared) for rule in rules_of.validations if rule.get("rule", "").strip()]


def _compile(rule: JsonSchema, schema: Structural, declared: Declared) -> _Rule:
    optional_old = bool(rule.get("optionalOldSelf"))
    names = environment(declared, optional_old=optional_old)
    path = normalized_path(rule.get("fieldPath") or "", schema)
    try:
        program = names.program(rule["rule"])
    except CompileError as error:
        return _Rule(rule, None, None, False, False, path, f"rule compile error: {error}")
    uses_old = mentions(program.tree.root, "oldSelf")
    return _Rule(rule, program, _message_program(rule, names), uses_old, optional_old, path)


def _message_program(rule: JsonSchema, names: Environment) -> Program | None:
    source = rule.get("messageExpression")
    if not source:
        return None
    try:
        return names.program(source)
    except CompileError as error:
        log.debug("messageExpression %s is not used: %s", source, error)
        return None


def mentions(node: Expr, name: str) -> bool:
    """Whether an expression names a variable."""
    if node.kind == "ident" and node.name == name:
        return True
    inner = [*node.args, *(entry.value for entry in node.entries)]
    inner += [entry.key for entry in node.entries if isinstance(entry.key, Expr)]
    if node.target is not None:
        inner.append(node.target)
    return any(mentions(child, name) for child in inner)


_STEP = re.compile(r"\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\]")


def normalized_path(json_path: str, schema: Structural) -> str:
    """A rule's fieldPath as errors print it: `.spec['a.b']` is `spec.a.b`, and a map's key stands in brackets."""
    path = ""
    node: Structural | None = schema
    for match in _STEP.finditer(json_path):
        name = match[1] if match[1] is not None else re.sub(r"\\(.)", r"\1", match[2])
        if node is not None and not node.properties and node.additional is not None:
            path += f"[{name}]"
            node = node.described
        else:
            path += f".{name}" if path else name
            node = node.properties.get(name) if node is not None else None
    return path
