"""MutatingAdmissionPolicies (k8s.io/apiserver/pkg/admission/plugin/policy/mutating; KEP-3962).

A mutation is an applied configuration, merged by the kind's schema, or a JSON patch; both are made by an expression.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, ClassVar, NamedTuple

from pilothouse.api import errors
from pilothouse.api.resources import MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS
from pilothouse.api.types import Obj
from pilothouse.api.validation.admissionregistration import with_patches
from pilothouse.apiserver.admission.dynamic import bound, mutations, rules
from pilothouse.apiserver.admission.dynamic.expressions import (
    BUDGET,
    Budget,
    Expression,
    Failed,
    OutOfBudget,
    Subject,
    compiled,
    run,
)
from pilothouse.apiserver.admission.dynamic.matching import Relevant, Request, request_of
from pilothouse.apiserver.admission.dynamic.seen import Seen, same
from pilothouse.apiserver.admission.plugin import (
    Attributes,
    Environment,
    Operation,
    Plugin,
    Reinvoked,
    Rounds,
)
from pilothouse.apiserver.admission.policy import Invocation, Policies, rules_of


class _Mutation(NamedTuple):
    """`mismatch` is what is wrong with the names of its types, or ""."""

    patch_type: str
    expression: Expression
    mismatch: str


class _Policy(NamedTuple):
    common: bound.Policy
    mutations: list[_Mutation]


def _compile(obj: Obj) -> _Policy:
    common = bound.policy(obj)
    environment = with_patches(common.environment)
    out = []
    for mutation in obj["spec"].get("mutations") or ():
        is_apply = mutation["patchType"] == "ApplyConfiguration"
        text = mutation["applyConfiguration" if is_apply else "jsonPatch"]["expression"]
        expression = compiled(text, environment)
        wrong = mutations.mismatch(expression.program.tree.root) if expression.program is not None else ""
        out.append(_Mutation(mutation["patchType"], expression, wrong))
    return _Policy(common, out)


class _Refused(NamedTuple):
    invocation: Invocation
    why: str
    reason: str = ""

    def __str__(self) -> str:
        policy = self.invocation.policy.name
        if self.invocation.binding is None:
            return f'policy "{policy}" denied request: {self.why}'
        return f"policy '{policy}' with binding '{self.invocation.binding_name}' denied request: {self.why}"


class MutatingAdmissionPolicy(Plugin):
    name = "MutatingAdmissionPolicy"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE", "DELETE", "CONNECT"))

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._policies = Policies(env, "admit")
        self._bindings = bound.Bindings(
            env.lister, MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS, _compile
        )
        self._named: Relevant[bound.Bound[_Policy]] = Relevant(env, lambda one: rules_of(one.policy.common))
        self.idle: Callable[[], bool] | None = self._bindings.none

    async def admit(self, a: Attributes) -> None:
        named = [] if rules.is_exempt(a) else self._named.of(self._bindings.now(), a)
        if not named:
            return
        request = request_of(a)
        rounds = a.rounds or Rounds()
        mine = rounds.of(self.name)
        if rounds.again and not same(mine.left, a.obj):
            mine.changed()
        seen = Seen(self._env, a, request)
        refused: list[_Refused] = []
        for policy, bindings in named:
            for invocation in await self._policies.invocations(policy.common, list(bindings), a, request):
                refused += await self._run(policy, invocation, request, seen, a, rounds, mine)
        mine.left = deepcopy(a.obj) if a.rounds is not None else None
        kept = [one for one in refused if one.invocation.policy.fails]
        if kept:
            raise _refusal(a, kept)

    async def _run(
        self,
        policy: _Policy,
        invocation: Invocation,
        request: Request,
        seen: Seen,
        a: Attributes,
        rounds: Rounds,
        mine: Reinvoked,
    ) -> list[_Refused]:
        if invocation.error:
            return [_Refused(invocation, invocation.error)]
        assert invocation.match is not None
        subject = await self._policies.subject(a, request, seen, invocation.match)
        namespace = self._policies.namespace(request)
        verdict = self._policies.meets(invocation, subject)
        if verdict.error:
            return [_Refused(invocation, verdict.error, "Invalid")]
        if not verdict.matches or (rounds.again and invocation.key not in mine.due):
            return []
        refused: list[_Refused] = []
        before = subject.obj if subject.obj is None else deepcopy(subject.obj)
        for mutation in policy.mutations:
            if subject.obj is None:
                break
            refused += await self._mutate(mutation, invocation, subject, namespace, seen)
            subject = await self._policies.subject(a, request, seen, invocation.match)
        if not same(before, subject.obj):
            a.rounds = rounds
            rounds.wanted = True
            mine.changed()
        if invocation.policy.spec.get("reinvocationPolicy") == "IfNeeded":
            mine.eligible.add(invocation.key)
        return refused

    async def _mutate(
        self, mutation: _Mutation, invocation: Invocation, subject: Subject, namespace: Obj | None, seen: Seen
    ) -> list[_Refused]:
        assert subject.obj is not None
        budget = Budget(BUDGET)
        variables = self._policies.variables(invocation, subject, namespace, budget)
        names, clock = (invocation.policy.name, invocation.binding_name), self._env.world.clock
        began_s = clock.monotonic()
        try:
            if mutation.mismatch:
                raise mutations.CannotApply(f"type mismatch: {mutation.mismatch}")
            value: Any = run(mutation.expression, variables, budget)
            if mutation.patch_type == "JSONPatch":
                changed = mutations.patched(subject.obj, value)
            else:
                type_ = self._env.shapes.type_of(subject.match.kind, subject.match.resource)
                changed = mutations.applied(subject.obj, value, type_)
            await seen.put(deepcopy(changed), subject.match)
        except (Failed, OutOfBudget, mutations.CannotApply, ValueError) as error:
            kind = "out_of_budget" if isinstance(error, OutOfBudget) else "invalid_error"
            self._env.metrics.mutated(*names, kind, clock.monotonic() - began_s)
            return [_Refused(invocation, str(error), "Invalid")]
        self._env.metrics.mutated(*names, "no_error", clock.monotonic() - began_s)
        return []


def _refusal(a: Attributes, refused: list[_Refused]) -> errors.ApiError:
    error = a.forbidden("admission request denied by policy")
    error.message = str(refused[0])
    error.reason = refused[0].reason or error.reason
    details = dict(error.details or {})
    causes = [*(details.get("causes") or ()), *({"message": str(one)} for one in refused)]
    error.details = {**details, "causes": causes}
    return error
