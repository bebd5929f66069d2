"""Validation of the kinds in admissionregistration.k8s.io (pkg/apis/admissionregistration/validation).

An update of an old webhook configuration is not held to rules that its stored state already breaks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pilothouse.api import field as f
from pilothouse.api.cel import types as cel
from pilothouse.api.cel.compiler import POLICY, WITH_AUTHORIZER, CompileError, Environment
from pilothouse.api.cel.declarations import JSON_PATCH
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields, meta, names
from pilothouse.api.validation.webhooks import client_config

REVIEW_VERSIONS = ("v1", "v1beta1")
FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
NO_SIDE_EFFECTS = ("None", "NoneOnDryRun")
SIDE_EFFECTS = ("None", "NoneOnDryRun", "Some", "Unknown")
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
REINVOCATION_POLICIES = ("IfNeeded", "Never")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
ACTIONS = ("Audit", "Deny", "Warn")
PATCH_TYPES = ("ApplyConfiguration", "JSONPatch")
MATCH_CONDITIONS_MAX = 64
AUDIT_ANNOTATIONS_MAX = 20
VALUE_EXPRESSION_BYTES_MAX = 5 * 1024


# Webhook configurations


class _Options(NamedTuple):
    """What an update need not fulfil because its stored state does not."""

    match_conditions: bool = True
    no_side_effects: bool = True
    known_version: bool = True
    unique_names: bool = True
    bad_selector_values: bool = False


def webhook_configuration(obj: Obj, mutating: bool, old: Obj | None = None) -> f.Errors:
    hooks = obj.get("webhooks") or []
    options = _Options() if old is None else _options(hooks, old.get("webhooks") or [])
    errors: f.Errors = []
    seen: set[str] = set()
    for i, hook in enumerate(hooks):
        path, name = f"webhooks[{i}]", hook.get("name", "")
        errors += _webhook(hook, path, mutating, options)
        versions = hook.get("admissionReviewVersions") or []
        errors += _review_versions(versions, f"{path}.admissionReviewVersions", options.known_version)
        if options.unique_names and name:
            if name in seen:
                errors.append(f.duplicate(f"{path}.name", name))
            seen.add(name)
    return errors


def _options(hooks: Sequence[Obj], old: Sequence[Obj]) -> _Options:
    conditions, before = ([hook.get("matchConditions") or [] for hook in h] for h in (hooks, old))
    hook_names = [hook.get("name", "") for hook in old]
    selectors = [hook[key] for hook in old for key in ("namespaceSelector", "objectSelector") if key in hook]
    versions = [hook.get("admissionReviewVersions") or [] for hook in old]
    return _Options(
        match_conditions=conditions != before,
        no_side_effects=all(hook.get("sideEffects") in NO_SIDE_EFFECTS for hook in old),
        known_version=all(set(known) & set(REVIEW_VERSIONS) for known in versions if known),
        unique_names=len(set(hook_names)) == len(hook_names),
        bad_selector_values=any(meta.validate_label_selector(selector, "") for selector in selectors),
    )


def _webhook(hook: Obj, path: str, mutating: bool, options: _Options) -> f.Errors:
    errors = fields.fully_qualified_name(hook.get("name", ""), f"{path}.name")
    for i, rule in enumerate(hook.get("rules") or ()):
        errors += rule_with_operations(rule, f"{path}.rules[{i}]")
    errors += _one_of(hook, "failurePolicy", path, FAILURE_POLICIES)
    errors += _one_of(hook, "matchPolicy", path, MATCH_POLICIES)
    allowed = NO_SIDE_EFFECTS if options.no_side_effects else SIDE_EFFECTS
    if hook.get("sideEffects") is None:
        why = f"must specify one of {', '.join(allowed)}"
        errors.append(f.required(f"{path}.sideEffects", why))
    errors += _one_of(hook, "sideEffects", path, allowed)
    timeout = hook.get("timeoutSeconds")
    if timeout is not None and not 1 <= timeout <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        errors.append(f.invalid(f"{path}.timeoutSeconds", timeout, why))
    for key in ("namespaceSelector", "objectSelector"):
        if hook.get(key) is not None:
            tolerant = options.bad_selector_values
            errors += meta.validate_label_selector(hook[key], f"{path}.{key}", allow_invalid_values=tolerant)
    if mutating:
        errors += _one_of(hook, "reinvocationPolicy", path, REINVOCATION_POLICIES)
    errors += client_config(hook["clientConfig"], f"{path}.clientConfig")
    if options.match_conditions:
        conditions = hook.get("matchConditions") or []
        errors += _match_conditions(conditions, f"{path}.matchConditions", WITH_AUTHORIZER)
    return errors


def _one_of(holder: Obj, key: str, path: str, allowed: Sequence[str]) -> f.Errors:
    """A field that may be absent is one of these when it is there."""
    value = holder.get(key)
    if value is None or value in allowed:
        return []
    return [f.not_supported(f"{path}.{key}", value, allowed)]


def _review_versions(versions: Sequence[str], path: str, need_known: bool) -> f.Errors:
    known = ", ".join(REVIEW_VERSIONS)
    if not versions:
        return [f.required(path, f"must specify one of {known}")]
    errors: f.Errors = []
    for i, version in enumerate(versions):
        if version in versions[:i]:
            errors.append(f.invalid(f"{path}[{i}]", version, "duplicate version"))
            continue
        errors += [f.invalid(f"{path}[{i}]", version, text) for text in names.is_dns1035_label(version)]
    if need_known and not set(versions) & set(REVIEW_VERSIONS):
        errors.append(f.invalid(path, versions, f"must include at least one of {known}"))
    return errors


# Rules


def rule_with_operations(rule: Obj, path: str) -> f.Errors:
    operations = rule.get("operations") or []
    errors = _wildcard_alone(operations, f"{path}.operations", "operations")
    for i, operation in enumerate(operations):
        if operation not in OPERATIONS:
            errors.append(f.not_supported(f"{path}.operations[{i}]", operation, OPERATIONS))
    versions = rule.get("apiVersions") or []
    errors += _wildcard_alone(rule.get("apiGroups") or [], f"{path}.apiGroups", "API groups")
    errors += _wildcard_alone(versions, f"{path}.apiVersions", "API versions")
    errors += [f.required(f"{path}.apiVersions[{i}]") for i, version in enumerate(versions) if not version]
    errors += _resources(rule.get("resources") or [], f"{path}.resources")
    return errors + _one_of(rule, "scope", path, SCOPES)


def _wildcard_alone(values: Sequence[str], path: str, what: str) -> f.Errors:
    if not values:
        return [f.required(path)]
    if len(values) > 1 and "*" in values:
        return [f.invalid(path, values, f"if '*' is present, must not specify other {what}")]
    return []


def _resources(resources: Sequence[str], path: str) -> f.Errors:
    errors: f.Errors = [] if resources else [f.required(path)]
    all_of: set[str] = set()
    everywhere: set[str] = set()
    has_plain = False
    for i, resource in enumerate(resources):
        at = f"{path}[{i}]"
        if not resource:
            errors.append(f.required(at))
            continue
        parent, slash, sub = resource.partition("/")
        if not slash:
            # As upstream: the last one without a subresource decides.
            has_plain = resource != "*"
            continue
        if parent in all_of:
            why = f"if '{parent}/*' is present, must not specify {resource}"
            errors.append(f.invalid(at, resource, why))
        if sub in everywhere:
            errors.append(f.invalid(at, resource, f"if '*/{sub}' is present, must not specify {resource}"))
        if sub == "*":
            all_of.add(parent)
        if parent == "*":
            everywhere.add(sub)
    if len(resources) > 1 and "*/*" in resources:
        why = "if '*/*' is present, must not specify other resources"
        errors.append(f.invalid(path, resources, why))
    if "*" in resources and has_plain:
        why = "if '*' is present, must not specify other resources without subresources"
        errors.append(f.invalid(path, resources, why))
    return errors


# Match conditions


def _match_conditions(conditions: Sequence[Obj], path: str, environment: Environment) -> f.Errors:
    errors: f.Errors = []
    if len(conditions) > MATCH_CONDITIONS_MAX:
        errors.append(f.too_many(path, len(conditions), MATCH_CONDITIONS_MAX))
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        at, name = f"{path}[{i}]", condition.get("name", "")
        expression = condition.get("expression", "").strip()
        if not expression:
            errors.append(f.required(f"{at}.expression"))
        else:
            errors += _compiled(expression, f"{at}.expression", environment, cel.BOOL)
        if not name:
            errors.append(f.required(f"{at}.name"))
            continue
        errors += [f.invalid(f"{at}.name", name, text) for text in names.is_qualified_name(name)]
        if name in seen:
            errors.append(f.duplicate(f"{at}.name", name))
        seen.add(name)
    return errors


def _compiled(expression: str, path: str, environment: Environment, *wanted: cel.CelType) -> f.Errors:
    try:
        environment.compile(expression, *wanted)
    except CompileError as error:
        return [f.invalid(path, expression, str(error))]
    return []


# Policies


def validating_admission_policy(obj: Obj, old: Obj | None = None) -> f.Errors:
    spec, path = obj["spec"], "spec"
    errors, environment = _policy(obj, old)
    validations = spec.get("validations") or []
    annotations = spec.get("auditAnnotations") or []
    if not validations and not annotations:
        why = "validations or auditAnnotations must contain at least one item"
        return [
            *errors,
            f.required(f"{path}.validations", why),
            f.required(f"{path}.auditAnnotations", why),
        ]
    for i, validation in enumerate(validations):
        errors += _validation(validation, f"{path}.validations[{i}]", environment)
    return errors + _audit_annotations(
        annotations, f"{path}.auditAnnotations", obj["metadata"].get("name", ""), environment
    )


def mutating_admission_policy(obj: Obj, old: Obj | None = None) -> f.Errors:
    spec, path = obj["spec"], "spec"
    errors, environment = _policy(obj, old)
    environment = with_patches(environment)
    mutations = spec.get("mutations") or []
    if not mutations:
        errors.append(f.required(f"{path}.mutations", "mutations must contain at least one item"))
    for i, mutation in enumerate(mutations):
        errors += _mutation(mutation, f"{path}.mutations[{i}]", environment)
    if not spec.get("reinvocationPolicy"):
        errors.append(f.required(f"{path}.reinvocationPolicy"))
    else:
        errors += _one_of(spec, "reinvocationPolicy", path, REINVOCATION_POLICIES)
    return errors


def _policy(obj: Obj, old: Obj | None) -> tuple[f.Errors, Environment]:
    """What both policies begin with, and the environment that their expressions see: with parameters when the
    policy has some, and with its variables."""
    spec, path = obj["spec"], "spec"
    errors: f.Errors = []
    if spec.get("failurePolicy") is None:
        errors.append(f.required(f"{path}.failurePolicy"))
    errors += _one_of(spec, "failurePolicy", path, FAILURE_POLICIES)
    environment = WITH_AUTHORIZER
    if spec.get("paramKind") is not None:
        environment = environment.with_variables(params=cel.DYN)
        errors += _param_kind(spec["paramKind"], f"{path}.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        errors.append(f.required(f"{path}.matchConstraints"))
    else:
        errors += _match_resources(constraints, f"{path}.matchConstraints")
        if not constraints.get("resourceRules"):
            errors.append(f.required(f"{path}.matchConstraints.resourceRules"))
    if old is None or _conditions_changed(spec, old["spec"]):
        conditions = spec.get("matchConditions") or []
        errors += _match_conditions(conditions, f"{path}.matchConditions", environment)
    fields: dict[str, cel.CelType] = {}
    if spec.get("variables"):
        environment = environment.with_struct("kubernetes.variables", fields)
        environment = environment.with_variables(variables=cel.struct("kubernetes.variables"))
    for i, variable in enumerate(spec.get("variables") or ()):
        errors += _variable(variable, f"{path}.variables[{i}]", environment, fields)
    return errors, environment


def _conditions_changed(spec: Obj, old: Obj) -> bool:
    return any(spec.get(key) != old.get(key) for key in ("paramKind", "matchConditions"))


def _param_kind(kind: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    version, name, at = kind.get("apiVersion", ""), kind.get("kind", ""), f"{path}.apiVersion"
    if not version:
        errors.append(f.required(at))
    elif version.count("/") > 1:
        errors.append(f.invalid(at, version, f"unexpected GroupVersion string: {version}"))
    else:
        errors += _group_version(version, at)
    if not name:
        errors.append(f.required(f"{path}.kind"))
    elif texts := names.is_dns1035_label(name.lower()):
        why = f"may have mixed case, but should otherwise match: {','.join(texts)}"
        errors.append(f.invalid(f"{path}.kind", name, why))
    return errors


def _group_version(text: str, path: str) -> f.Errors:
    group, slash, version = text.partition("/")
    if not slash:
        group, version = "", text
    errors: f.Errors = []
    if group and (texts := names.is_dns1123_subdomain(group)):
        errors.append(f.invalid(path, group, ",".join(texts)))
    if not version:
        errors.append(f.invalid(path, text, "version must be specified"))
    elif texts := names.is_dns1035_label(version):
        errors.append(f.invalid(path, version, ",".join(texts)))
    return errors


def _match_resources(match: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    if match.get("matchPolicy") is None:
        errors.append(f.required(f"{path}.matchPolicy"))
    errors += _one_of(match, "matchPolicy", path, MATCH_POLICIES)
    for key in ("namespaceSelector", "objectSelector"):
        if match.get(key) is None:
            errors.append(f.required(f"{path}.{key}"))
        else:
            errors += meta.validate_label_selector(match[key], f"{path}.{key}")
    for key in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(key) or ()):
            errors += _named_rule(rule, f"{path}.{key}[{i}]")
    return errors


def _named_rule(rule: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    resource_names = rule.get("resourceNames") or []
    for i, name in enumerate(resource_names):
        at = f"{path}.resourceNames[{i}]"
        errors += [f.invalid(at, name, text) for text in names.path_segment(name)]
        if name in resource_names[:i]:
            errors.append(f.duplicate(at, name))
    return errors + rule_with_operations(rule, path)


_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED = frozenset(
    (
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
        "import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip


def _variable(variable: Obj, path: str, environment: Environment, fields: dict[str, cel.CelType]) -> f.Errors:
    """A variable sees those before it; its own type goes to `fields` for those after it."""
    errors: f.Errors = []
    name, expression = variable.get("name", ""), variable.get("expression", "")
    if not name.strip():
        errors.append(f.required(f"{path}.name", "name is not specified"))
    elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
        errors.append(f.invalid(f"{path}.name", name, "name is not a valid CEL identifier"))
    if not expression.strip():
        errors.append(f.required(f"{path}.expression", "expression is not specified"))
        return errors
    fields_type = cel.DYN
    try:
        fields_type = environment.compile(expression)
    except CompileError as error:
        errors.append(f.invalid(f"{path}.expression", expression, str(error)))
    fields[name] = fields_type
    return errors


def _validation(validation: Obj, path: str, environment: Environment) -> f.Errors:
    errors: f.Errors = []
    expression, message = validation.get("expression", ""), validation.get("message", "")
    if not expression.strip():
        errors.append(f.required(f"{path}.expression", "expression is not specified"))
    else:
        errors += _compiled(expression, f"{path}.expression", environment, cel.BOOL)
    dynamic = validation.get("messageExpression", "")
    if dynamic and not dynamic.strip():
        errors.append(f.invalid(f"{path}.messageExpression", dynamic, "must be non-empty if specified"))
    elif dynamic:
        without = _without_authorizer(environment)
        errors += _compiled(dynamic, f"{path}.messageExpression", without, cel.STRING)
    if message and not message.strip():
        errors.append(f.invalid(f"{path}.message", message, "must be non-empty if specified"))
    elif re.search(r"[\n\r]", message.strip()):
        errors.append(f.invalid(f"{path}.message", message, "must not contain line breaks"))
    return errors + _one_of(validation, "reason", path, REASONS)


def _without_authorizer(environment: Environment) -> Environment:
    """A message is not allowed to ask what its reader may do."""
    kept = {
        key: value
        for key, value in environment.variables.items()
        if key in POLICY.variables or key in ("params", "variables")
    }
    return Environment(kept, environment.functions, environment.structs)


def _audit_annotations(
    annotations: Sequence[Obj], path: str, policy: str, environment: Environment
) -> f.Errors:
    errors: f.Errors = []
    if len(annotations) > AUDIT_ANNOTATIONS_MAX:
        why = f"must not have more than {AUDIT_ANNOTATIONS_MAX} auditAnnotations"
        errors.append(f.invalid(path, annotations, why))
    seen: set[str] = set()
    for i, annotation in enumerate(annotations):
        at, key = f"{path}[{i}]", annotation.get("key", "")
        if policy:
            full = f"{policy}/{key}"
            errors += [f.invalid(f"{at}.key", full, text) for text in names.is_qualified_name(full)]
        else:
            errors.append(f.invalid(f"{at}.key", key, "requires metadata.name be non-empty"))
        errors += _value_expression(
            annotation.get("valueExpression", ""), f"{at}.valueExpression", environment
        )
        if key in seen:
            errors.append(f.duplicate(f"{at}.key", key))
        seen.add(key)
    return errors


def _value_expression(expression: str, path: str, environment: Environment) -> f.Errors:
    trimmed = expression.strip()
    if not trimmed:
        return [f.required(path, "valueExpression is not specified")]
    if len(trimmed.encode()) > VALUE_EXPRESSION_BYTES_MAX:
        return [f.required(path, f"must not exceed {VALUE_EXPRESSION_BYTES_MAX} bytes in length")]
    try:
        environment.compile(trimmed, cel.STRING, cel.NULL)
    except CompileError as error:
        return [f.invalid(path, expression, str(error))]
    return []


def _any_field(_name: str) -> cel.CelType:
    return cel.DYN


_JSON_PATCH_FIELDS = {"op": cel.STRING, "path": cel.STRING, "from": cel.STRING, "value": cel.DYN}


def with_patches(environment: Environment) -> Environment:
    """What mutations make: `Object{…}` and its nested types, with any field, and lists of `JSONPatch{…}`."""
    return (
        environment.with_struct("Object", _any_field)
        .with_struct("Object.*", _any_field)
        .with_struct("JSONPatch", _JSON_PATCH_FIELDS)
        .with_functions(JSON_PATCH)
    )


_MUTATIONS: dict[str, tuple[str, str, cel.CelType]] = {
    "ApplyConfiguration": ("applyConfiguration", "jsonPatch", cel.struct("Object")),
    "JSONPatch": ("jsonPatch", "applyConfiguration", cel.list_of(cel.struct("JSONPatch"))),
}
"""Patch type: its field, the other type's field, what its expression makes."""


def _mutation(mutation: Obj, path: str, environment: Environment) -> f.Errors:
    kind = mutation.get("patchType", "")
    if not kind:
        return [f.required(f"{path}.patchType")]
    if kind not in _MUTATIONS:
        return [f.not_supported(f"{path}.patchType", kind, PATCH_TYPES)]
    own, other, wanted = _MUTATIONS[kind]
    errors: f.Errors = []
    if mutation.get(own) is None:
        errors.append(f.required(f"{path}.{own}", f"must be specified when patchType is {kind}"))
    else:
        expression = mutation[own].get("expression", "")
        if not expression.strip():
            errors.append(f.required(f"{path}.{own}.expression", "expression is not specified"))
        else:
            errors += _compiled(expression, f"{path}.{own}.expression", environment, wanted)
    if mutation.get(other) is not None:
        why = f"must not be specified when patchType is {kind}"
        errors.append(f.invalid(f"{path}.{other}", f"{{{other}}}", why))
    return errors


# Bindings


def validating_admission_policy_binding(obj: Obj) -> f.Errors:
    actions, path = obj["spec"].get("validationActions") or [], "spec.validationActions"
    errors = mutating_admission_policy_binding(obj)
    for i, action in enumerate(actions):
        if action not in ACTIONS:
            errors.append(f.not_supported(f"{path}[{i}]", action, ACTIONS))
        if action in actions[:i]:
            errors.append(f.duplicate(f"{path}[{i}]", action))
    if {"Deny", "Warn"} <= set(actions):
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the "
            "API response and headers serves no purpose)"
        )
        errors.append(f.invalid(path, actions, why))
    if not actions:
        errors.append(f.required(path, "at least one validation action is required"))
    return errors


def mutating_admission_policy_binding(obj: Obj) -> f.Errors:
    spec = obj["spec"]
    name = spec.get("policyName", "")
    if not name:
        errors = [f.required("spec.policyName")]
    else:
        errors = [f.invalid("spec.policyName", name, text) for text in names.is_dns1123_subdomain(name)]
    if spec.get("paramRef") is not None:
        errors += _param_ref(spec["paramRef"], "spec.paramRef")
    if spec.get("matchResources") is not None:
        errors += _match_resources(spec["matchResources"], "spec.matchResources")
    return errors


def _param_ref(ref: Obj, path: str) -> f.Errors:
    name, selector, action = ref.get("name", ""), ref.get("selector"), ref.get("parameterNotFoundAction")
    exclusive = "name and selector are mutually exclusive"
    errors: f.Errors = []
    if name:
        errors += [f.invalid(f"{path}.name", name, text) for text in names.path_segment(name)]
        if selector is not None:
            errors.append(f.forbidden(f"{path}.name", exclusive))
    if selector is not None:
        errors += meta.validate_label_selector(selector, f"{path}.selector")
        if name:
            errors.append(f.forbidden(f"{path}.selector", exclusive))
    if not name and selector is None:
        errors.append(f.required(path, "one of name or selector must be specified"))
    at = f"{path}.parameterNotFoundAction"
    if not action:
        errors.append(f.required(at))
    elif action not in ("Deny", "Allow"):
        errors.append(f.not_supported(at, action, ("Deny", "Allow")))
    return errors


# Status


def validating_admission_policy_status(obj: Obj) -> f.Errors:
    status = obj["status"]
    errors: f.Errors = []
    warnings = (status.get("typeChecking") or {}).get("expressionWarnings") or ()
    for i, warning in enumerate(warnings):
        path = f"status.typeChecking.expressionWarnings[{i}]"
        if not warning.get("warning"):
            errors.append(f.required(f"{path}.warning"))
        if not warning.get("fieldRef", "").strip():
            errors.append(f.required(f"{path}.fieldRef"))
    return errors + fields.conditions(status.get("conditions") or [], "status.conditions")
