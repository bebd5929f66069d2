"""What both plugins that run policies share: which policies, bindings and parameters a request is for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from pilothouse.api import errors
from pilothouse.api.resources import NAMESPACES
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic.bound import Policy
from pilothouse.apiserver.admission.dynamic.expressions import (
    Budget,
    Subject,
    Variables,
    Verdict,
    activation,
    conditions,
)
from pilothouse.apiserver.admission.dynamic.matching import Match, Matcher, Request
from pilothouse.apiserver.admission.dynamic.params import BadConfiguration, collect, kind_of
from pilothouse.apiserver.admission.dynamic.seen import Seen
from pilothouse.apiserver.admission.plugin import Attributes, Environment

Step = Literal["admit", "validate"]


class Invocation(NamedTuple):
    """A policy to be run with one parameter of one binding. `error` says why it cannot be."""

    policy: Policy
    binding: Obj | None
    match: Match | None = None
    params: Obj | None = None
    error: str = ""

    @property
    def binding_name(self) -> str:
        name: str = self.binding["metadata"]["name"] if self.binding is not None else ""
        return name

    @property
    def key(self) -> str:
        meta: Obj = (self.params or {}).get("metadata") or {}
        return f"{self.policy.name}/{self.binding_name}/{meta.get('namespace', '')}/{meta.get('name', '')}"


def rules_of(policy: Policy) -> tuple[Sequence[Obj], str | None]:
    match = policy.spec.get("matchConstraints") or {}
    return match.get("resourceRules") or (), match.get("matchPolicy")


class Policies:
    """Of one server and step."""

    def __init__(self, env: Environment, step: Step) -> None:
        self._env = env
        self._step = step
        self._matcher = Matcher(env)

    async def invocations(
        self, policy: Policy, bindings: list[Obj], a: Attributes, request: Request
    ) -> list[Invocation]:
        try:
            match = self._matcher.policy(policy.spec.get("matchConstraints") or {}, a, request)
            if match is None:
                return []
            kind = kind_of(self._env, policy.spec)
        except (errors.ApiError, BadConfiguration) as error:
            return [Invocation(policy, None, error=f"failed to configure policy: {error}")]
        out: list[Invocation] = []
        for binding in bindings:
            try:
                chosen = binding["spec"].get("matchResources")
                if chosen is not None and self._matcher.policy(chosen, a, request) is None:
                    continue
                found = await collect(self._env, kind, binding, request.namespace)
            except (errors.ApiError, BadConfiguration) as error:
                text = f"failed to configure binding: {error}"
                out.append(Invocation(policy, binding, match, error=text))
                continue
            out += [Invocation(policy, binding, match, params) for params in found]
        return out

    def namespace(self, request: Request) -> Obj | None:
        """The object of a request's namespace; None outside of namespaces. ApiError when it is not there."""
        if not request.namespace or (request.resource.group, request.resource.plural) == ("", "namespaces"):
            return None
        found = self._env.lister.get(NAMESPACES, request.namespace)
        if found is None:
            raise errors.not_found("", "namespaces", request.namespace)
        return found

    async def subject(self, a: Attributes, request: Request, seen: Seen, match: Match) -> Subject:
        return Subject(a, request, match, await seen.new(match), await seen.old(match))

    def meets(self, invocation: Invocation, subject: Subject) -> Verdict:
        """What the policy's match conditions say."""
        policy = invocation.policy
        if not policy.conditions:
            return Verdict(True)
        counted = (policy.name, "policy", self._step, subject.a.operation)
        verdict = conditions(
            policy.conditions,
            activation(subject, self._env.authorize, invocation.params),
            fails=True,
            on_error=partial(self._env.metrics.condition_failed, *counted),
        )
        if not verdict.matches and not verdict.error:
            self._env.metrics.excluded(*counted)
        return verdict

    def variables(
        self,
        invocation: Invocation,
        subject: Subject,
        namespace: Obj | None,
        budget: Budget,
        *,
        authorizer: bool = True,
    ) -> dict[str, Any]:
        """What the policy's expressions see."""
        authorize = self._env.authorize if authorizer else None
        out = activation(subject, authorize, invocation.params, namespace)
        out["variables"] = Variables(invocation.policy.variables, out, budget)
        return out
