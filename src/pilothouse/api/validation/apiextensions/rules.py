"""x-kubernetes-validations when a definition is written (validation.ValidateCustomResourceDefinitionOpenAPISchema):
the form of each rule, whether it compiles, and what it may cost."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.cel.decl_types import DeclType
from pilothouse.api.cel.schema_rules import CompiledRule, RuleCompiler
from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions import gostructs, structural
from pilothouse.api.validation.apiextensions.cel_context import EXPRESSION_COST_MAX, Context, cost_text
from pilothouse.api.validation.apiextensions.paths import BadPath, field_path
from pilothouse.api.validation.apiextensions.props import Schema

KEY = "x-kubernetes-validations"
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_NO_TYPE = (
    "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert "
    "structural schema to CEL declarations"
)


def forms(schema: Schema, path: str) -> f.Errors:
    """What can be said of rules without compiling them."""
    errors: f.Errors = []
    for i, rule in enumerate(schema.get(KEY) or ()):
        errors += _form(rule, schema, f"{path}.{KEY}[{i}]")
    return errors


def _form(rule: Obj, schema: Schema, path: str) -> f.Errors:
    errors = _texts(rule, path)
    expression = rule.get("messageExpression", "")
    if expression and not expression.strip():
        why = "messageExpression must be non-empty if specified"
        errors.append(f.required(f"{path}.messageExpression", why))
    reason = rule.get("reason")
    if reason is not None and reason not in REASONS:
        errors.append(f.not_supported(f"{path}.reason", reason, REASONS))
    return errors + _field_path(rule.get("fieldPath", ""), schema, f"{path}.fieldPath")


def _texts(rule: Obj, path: str) -> f.Errors:
    """Rule and message; upstream tells one mistake of these."""
    expression, message = rule.get("rule", "").strip(), rule.get("message", "")
    if not expression:
        return [f.required(f"{path}.rule", "rule is not specified")]
    if message and not message.strip():
        return [f.invalid(f"{path}.message", message, "must be non-empty if specified")]
    if _has_newlines(message.strip()):
        return [f.invalid(f"{path}.message", message, "must not contain line breaks")]
    if _has_newlines(expression) and not message:
        return [f.required(f"{path}.message", "message must be specified if rule contains line breaks")]
    return []


def _has_newlines(text: str) -> bool:
    return "\n" in text or "\r" in text


def _field_path(text: str, schema: Schema, path: str) -> f.Errors:
    if not text:
        return []
    errors: f.Errors = []
    if not text.strip():
        errors.append(f.invalid(path, text, "must be non-empty if specified"))
    if _has_newlines(text):
        errors.append(f.invalid(path, text, "must not contain line breaks"))
    if not _is_known(text, schema):
        errors.append(f.invalid(path, text, "must be a valid path"))
    return errors


def _is_known(text: str, schema: Schema) -> bool:
    if structural.conversion_error(schema):
        return True
    try:
        field_path(text, schema)
    except BadPath:
        return False
    return True


def expressions(context: Context, path: str, uncorrelatable: str, *, check_cost: bool) -> f.Errors:
    """Compile the rules of a node. `uncorrelatable`: the path of the list above whose items have no old value, or
    "". `check_cost`: each expression has its own limit; the sum is counted in any case."""
    rules = context.schema.get(KEY) or ()
    if not rules:
        return []
    of = context.declared()
    if of is None:
        return [f.internal(f"{path}.{KEY}", _NO_TYPE)]
    compiler = RuleCompiler(of)
    errors: f.Errors = []
    for i, rule in enumerate(rules):
        at, compiled = f"{path}.{KEY}[{i}]", compiler.compile(rule)
        errors += _rule_cost(compiled, of, context, f"{at}.rule", check_cost)
        if compiled.error:
            errors.append(f.invalid(f"{at}.rule", gostructs.rule(rule), compiled.error))
        errors += _message(compiled, rule, context, f"{at}.messageExpression", check_cost)
        errors += _old_self(compiled, rule, at, uncorrelatable)
    return errors


def _rule_cost(
    compiled: CompiledRule, of: DeclType, context: Context, path: str, check_cost: bool
) -> f.Errors:
    cost = context.cost(compiled.cost_max, of)
    context.total.observe(path, cost)
    if not check_cost or cost <= EXPRESSION_COST_MAX:
        return []
    return [f.forbidden(path, cost_text("estimated rule cost", cost, EXPRESSION_COST_MAX))]


def _message(compiled: CompiledRule, rule: Obj, context: Context, path: str, check_cost: bool) -> f.Errors:
    """A message is made once, when its rule fails, wherever that is."""
    if compiled.message_error:
        return [f.invalid(path, gostructs.rule(rule), compiled.message_error)]
    if compiled.message is None:
        return []
    cost = compiled.message_cost_max
    context.total.observe(path, cost)
    if not check_cost or cost <= EXPRESSION_COST_MAX:
        return []
    return [f.forbidden(path, cost_text("estimated messageExpression cost", cost, EXPRESSION_COST_MAX))]


def _old_self(compiled: CompiledRule, rule: Obj, path: str, uncorrelatable: str) -> f.Errors:
    if not compiled.uses_old_self:
        if rule.get("optionalOldSelf") is None:
            return []
        why = "may not be set if oldSelf is not used in rule"
        return [f.invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], why)]
    if not uncorrelatable:
        return []
    why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelatable}"
    return [f.invalid(f"{path}.rule", rule.get("rule", ""), why)]
