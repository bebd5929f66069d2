"""CEL expressions of policies and match conditions, run on one request
(k8s.io/apiserver/pkg/admission/plugin/cel: activation.go, condition.go, composition.go).

Each expression may cost so much, and all of a policy together so much; what `variables.x` costs counts where it is
first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pilothouse.api.cel.compiler import CompileError, Environment, Program
from pilothouse.api.cel.evaluate import EvalError, WithDefault
from pilothouse.api.cel.metering import CostExceeded, Metered
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic import request as requests
from pilothouse.apiserver.admission.dynamic.authorizer import (
    WITH_AUTHORIZER,
    Authorize,
    Authorizer,
    ResourceCheck,
)
from pilothouse.apiserver.admission.dynamic.matching import Match, Request
from pilothouse.apiserver.admission.plugin import Attributes

CALL_MAX = 1_000_000
"""Of one expression (PerCallLimit)."""
BUDGET = 10_000_000
"""Of a policy's expressions (RuntimeCELCostBudget)."""
CONDITIONS_BUDGET = BUDGET // 4
"""Of match conditions (RuntimeCELCostBudgetMatchConditions)."""

_NO_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_NAMESPACE_FIELDS = (
    "name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "finalizers",
)  # fmt: skip


class OutOfBudget(Exception):
    """The text is upstream's."""


class Expression(NamedTuple):
    """A compiled expression, or why it is none (`error`)."""

    text: str
    program: Program | None = None
    error: str = ""


def compiled(text: str, environment: Environment) -> Expression:
    try:
        return Expression(text, environment.program(text.strip()))
    except CompileError as error:
        return Expression(text, None, str(error))


class Budget:
    """What is left of it."""

    def __init__(self, left: int) -> None:
        self.left = left


class Failed(Exception):
    """An expression has no value; the text says why."""


def run(expression: Expression, variables: Mapping[str, Any], budget: Budget) -> Any:
    """Its value. Raises Failed, and OutOfBudget when nothing more may be run."""
    if expression.program is None:
        raise Failed(f"compilation error: {expression.error}")
    metered = Metered(variables, min(CALL_MAX, budget.left), WITH_AUTHORIZER)
    try:
        return metered.value(expression.program.tree.root)
    except EvalError as error:
        why = str(error)
    except CostExceeded:
        if budget.left <= CALL_MAX:
            raise OutOfBudget(_NO_BUDGET) from None
        why = "operation cancelled: actual cost limit exceeded"
    except RecursionError:
        why = "the expression is nested too deeply"
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        why = str(
            error
        )  # of a function that met what it was not made for: the expression's fault, not the server's
    finally:
        budget.left = max(0, budget.left - metered.spent)
    raise Failed(f"expression '{expression.text}' resulted in error: {why}")


class Variables(WithDefault):
    """`variables`: each one worked out when it is first used, and kept."""

    __slots__ = ("_activation", "_budget", "_expressions")

    def __init__(
        self, expressions: Mapping[str, Expression], activation: Mapping[str, Any], budget: Budget
    ) -> None:
        super().__init__(dict)
        self._expressions = expressions
        self._activation = activation
        self._budget = budget

    def __contains__(self, name: object) -> bool:
        return name in self._expressions

    def __missing__(self, name: str) -> Any:
        expression = self._expressions.get(name)
        if expression is None:
            raise EvalError(f"no such key: {name}")
        try:
            value = run(expression, self._activation, self._budget)
        except Failed as failed:
            raise EvalError(f'composited variable "{name}" fails to evaluate: {failed}') from None
        self[name] = value
        return value


class Subject(NamedTuple):
    """What expressions are about: a request as a policy or webhook sees it."""

    a: Attributes
    request: Request
    match: Match
    obj: Obj | None
    old: Obj | None


def activation(
    subject: Subject,
    authorize: Authorize | None,
    params: Obj | None = None,
    namespace: Obj | None = None,
) -> dict[str, Any]:
    """Variables by name. `authorize` None: the expression may not ask what its reader may do."""
    a, request = subject.a, subject.request
    out: dict[str, Any] = {
        "object": subject.obj,
        "oldObject": subject.old,
        "request": requests.described(a, request, subject.match),
        "params": params,
        "namespaceObject": _shown(namespace),
    }
    if authorize is not None:
        of = Authorizer(a.user, authorize)
        out["authorizer"] = of
        out["authorizer.requestResource"] = ResourceCheck(
            of,
            request.resource.group,
            request.resource.plural,
            a.subresource,
            request.namespace,
            request.name,
        )
    return out


def _shown(namespace: Obj | None) -> Obj | None:
    if namespace is None:
        return None
    meta = namespace["metadata"]
    return {
        "metadata": {key: meta[key] for key in _NAMESPACE_FIELDS if key in meta},
        "spec": namespace.get("spec") or {},
        "status": namespace.get("status") or {},
    }


class Verdict(NamedTuple):
    """Of match conditions: whether they let a request through, or the errors that keep it from being told."""

    matches: bool
    error: str = ""


class Condition(NamedTuple):
    name: str
    expression: Expression


def conditions(
    wanted: Sequence[Condition],
    variables: Mapping[str, Any],
    *,
    fails: bool,
    on_error: Callable[[], None],
) -> Verdict:
    """One that is false decides, whatever the others do; an error keeps the webhook or policy out, or with `fails` (its
    failurePolicy) the request (matchconditions/matcher.go)."""
    found: list[str] = []
    budget = Budget(CONDITIONS_BUDGET)
    for condition in wanted:
        try:
            value = run(condition.expression, variables, budget)
        except Failed as failed:
            found.append(str(failed))
            on_error()
            continue
        except OutOfBudget as spent:
            on_error()
            return Verdict(False, str(spent) if fails else "")
        if value is False:
            return Verdict(False)
    if not found:
        return Verdict(True)
    return Verdict(False, _aggregate(found) if fails else "")


def _aggregate(texts: Sequence[str]) -> str:
    unique = list(dict.fromkeys(texts))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
