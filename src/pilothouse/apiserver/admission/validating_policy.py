"""ValidatingAdmissionPolicies (k8s.io/apiserver/pkg/admission/plugin/policy/validating; KEP-3488).

Every policy that matches, with every binding that does, with every parameter of that: each of its validations lets the
request through, or is broken. What a broken one does, its binding says: Deny, Warn, Audit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import msgspec

from pilothouse.api import errors
from pilothouse.api.cel.compiler import POLICY, Environment
from pilothouse.api.resources import VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic import bound, rules
from pilothouse.apiserver.admission.dynamic.expressions import (
    BUDGET,
    Budget,
    Expression,
    Failed,
    OutOfBudget,
    compiled,
    run,
)
from pilothouse.apiserver.admission.dynamic.matching import Relevant, Request, request_of
from pilothouse.apiserver.admission.dynamic.seen import Seen
from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin
from pilothouse.apiserver.admission.plugin import Environment as Server
from pilothouse.apiserver.admission.policy import Invocation, Policies, rules_of

MESSAGE_BYTES_MAX = 5 * 1024
ANNOTATION_MAX = 10 * 1024
_FAILURE = "validation.policy.admission.k8s.io/validation_failure"
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}
_INVALID = 422


class _Validation(NamedTuple):
    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str


class _Policy(NamedTuple):
    common: bound.Policy
    validations: list[_Validation]
    annotations: list[tuple[str, Expression]]
    """By key."""


class _Broken(NamedTuple):
    """`position` of the validation; `error_type` as metrics tell it, and how long it took, on average."""

    message: str
    reason: str = "Invalid"
    error_type: str = "no_error"
    position: int = 0
    seconds: float = 0.0


def _compile(obj: Obj) -> _Policy:
    common = bound.policy(obj)
    spec = obj["spec"]
    without = _without_authorizer(common.environment)
    validations = [
        _Validation(
            compiled(v["expression"], common.environment),
            (v.get("message") or "").strip(),
            compiled(v["messageExpression"], without) if v.get("messageExpression") else None,
            v.get("reason") or "Invalid",
        )
        for v in spec.get("validations") or ()
    ]
    annotations = [
        (a["key"], compiled(a["valueExpression"], without)) for a in spec.get("auditAnnotations") or ()
    ]
    return _Policy(common, validations, annotations)


def _without_authorizer(environment: Environment) -> Environment:
    kept = {
        name: type_
        for name, type_ in environment.variables.items()
        if name in POLICY.variables or name in ("params", "variables")
    }
    return Environment(kept, environment.functions, environment.structs)


class ValidatingAdmissionPolicy(Plugin):
    name = "ValidatingAdmissionPolicy"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE", "DELETE", "CONNECT"))

    def __init__(self, env: Server) -> None:
        self._metrics = env.metrics
        self._env = env
        self._policies = Policies(env, "validate")
        self._bindings = bound.Bindings(
            env.lister, VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS, _compile
        )
        self._named: Relevant[bound.Bound[_Policy]] = Relevant(env, lambda one: rules_of(one.policy.common))
        self.idle: Callable[[], bool] | None = self._bindings.none

    async def validate(self, a: Attributes) -> None:
        named = [] if rules.is_exempt(a) else self._named.of(self._bindings.now(), a)
        if not named:
            return
        request = request_of(a)
        seen = Seen(self._env, a, request)
        denied: list[tuple[Invocation, _Broken]] = []
        for policy, bindings in named:
            annotations: dict[str, list[str]] = {}
            for invocation in await self._policies.invocations(policy.common, list(bindings), a, request):
                denied += await self._run(policy, invocation, request, seen, a, annotations)
            for key, values in annotations.items():
                a.annotate(f"{policy.common.name}/{key}", ", ".join(values))
        if denied:
            raise _refusal(a, *denied[0])

    async def _run(
        self,
        policy: _Policy,
        invocation: Invocation,
        request: Request,
        seen: Seen,
        a: Attributes,
        annotations: dict[str, list[str]],
    ) -> list[tuple[Invocation, _Broken]]:
        """What denies the request."""
        fails = policy.common.fails
        if invocation.error:
            return [(invocation, _Broken(invocation.error))] if fails else []
        assert invocation.match is not None
        subject = await self._policies.subject(a, request, seen, invocation.match)
        namespace = self._policies.namespace(request)
        verdict = self._policies.meets(invocation, subject)
        if verdict.error:
            return self._enforced(invocation, [_Broken(verdict.error, error_type="invalid_error")], a, fails)
        if not verdict.matches:
            return []
        budget = Budget(BUDGET)
        variables = self._policies.variables(invocation, subject, namespace, budget)

        def without_authorizer(of: Budget) -> dict[str, Any]:
            return self._policies.variables(invocation, subject, namespace, of, authorizer=False)

        clock = self._env.world.clock
        began_s = clock.monotonic()
        broken = _broken(policy, variables, without_authorizer, budget)
        if broken:
            each_s = (clock.monotonic() - began_s) / len(policy.validations)
            broken = [one._replace(seconds=each_s) for one in broken]
        denied = self._enforced(invocation, broken, a, fails)
        if not policy.annotations:
            return denied
        fresh = Budget(BUDGET)
        for error in _annotated(policy, without_authorizer(fresh), fresh, annotations):
            if fails:
                names = (invocation.policy.name, invocation.binding_name)
                self._metrics.validated(*names, error.error_type, "deny", error.seconds)
                denied.append((invocation, error))
        return denied

    def _enforced(
        self, invocation: Invocation, broken: list[_Broken], a: Attributes, fails: bool
    ) -> list[tuple[Invocation, _Broken]]:
        """Do what the binding says; returns what denies the request. An error is as good as broken where the
        failurePolicy is Fail."""
        assert invocation.binding is not None
        policy, binding = invocation.policy.name, invocation.binding_name
        actions = invocation.binding["spec"].get("validationActions") or ()
        denied = []
        for one in broken:
            if one.error_type != "no_error" and not fails:
                self._metrics.validated(policy, binding, one.error_type, "allow", one.seconds)
                continue
            for action in actions:
                self._metrics.validated(policy, binding, one.error_type, action.lower(), one.seconds)
                if action == "Deny":
                    denied.append((invocation, one))
                elif action == "Warn":
                    a.warnings.append(
                        f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': "
                        f"{one.message}"
                    )
                elif action == "Audit":
                    a.annotate(_FAILURE, _failure(invocation, one, actions))
        return denied


def _broken(
    policy: _Policy, variables: dict[str, Any], messages: Callable[[Budget], dict[str, Any]], budget: Budget
) -> list[_Broken]:
    out: list[_Broken] = []
    for index, validation in enumerate(policy.validations):
        try:
            if run(validation.expression, variables, budget) is True:
                continue
            out.append(_Broken(_message(validation, messages, budget), validation.reason, position=index))
        except Failed as failed:
            out.append(_Broken(str(failed), error_type="invalid_error", position=index))
        except OutOfBudget as spent:
            return [_Broken(str(spent), error_type="out_of_budget", position=index)]
    return out


def _message(validation: _Validation, messages: Callable[[Budget], dict[str, Any]], budget: Budget) -> str:
    """The message that the policy's author worked out or wrote, or else the expression."""
    text = ""
    if validation.message_expression is not None:
        try:
            value = run(validation.message_expression, messages(budget), budget)
            text = value.strip() if isinstance(value, str) else ""
        except Failed:
            text = ""
    if "\n" in text or len(text.encode()) > MESSAGE_BYTES_MAX:
        text = ""
    return text or validation.message or f"failed expression: {validation.expression.text.strip()}"


def _annotated(
    policy: _Policy, variables: dict[str, Any], budget: Budget, annotations: dict[str, list[str]]
) -> list[_Broken]:
    """Fill in audit annotations; returns what went wrong."""
    wrong: list[_Broken] = []
    for key, expression in policy.annotations:
        try:
            value = run(expression, variables, budget)
        except (Failed, OutOfBudget) as failed:
            wrong.append(_Broken(str(failed), error_type="invalid_error"))
            continue
        text = value.strip()[:ANNOTATION_MAX] if isinstance(value, str) else ""
        if text and text not in annotations.setdefault(key, []):
            annotations[key].append(text)
    for key in [key for key, values in annotations.items() if not values]:
        del annotations[key]
    return wrong


def _failure(invocation: Invocation, broken: _Broken, actions: Any) -> str:
    value = {
        "message": broken.message,
        "policy": invocation.policy.name,
        "binding": invocation.binding_name,
        "expressionIndex": broken.position,
        "validationActions": list(actions),
    }
    return msgspec.json.encode([value]).decode()


def _refusal(a: Attributes, invocation: Invocation, broken: _Broken) -> errors.ApiError:
    with_binding = f" with binding '{invocation.binding_name}'" if invocation.binding is not None else ""
    message = (
        f"ValidatingAdmissionPolicy '{invocation.policy.name}'{with_binding} denied request: {broken.message}"
    )
    error = a.forbidden(message)
    error.reason = broken.reason
    error.code = _CODES.get(broken.reason, _INVALID)
    details = dict(error.details or {})
    error.details = {**details, "causes": [*(details.get("causes") or ()), {"message": message}]}
    return error
