"""Admission policies with the bindings that make them count (k8s.io/apiserver/pkg/admission/plugin/policy/generic
policy_source.go). A policy without a binding does nothing. Compiled anew only when a policy changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from pilothouse.api.cel import types as cel
from pilothouse.api.cel.compiler import WITH_AUTHORIZER, CompileError, Environment
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic.expressions import Condition, Expression, compiled
from pilothouse.apiserver.registry.lister import Lister

_VARIABLES = "kubernetes.variables"


class Policy(NamedTuple):
    """A policy's common parts. `environment` is what its own expressions are compiled with: parameters and variables
    besides what all see. Variables are in the order in which they may use each other."""

    name: str
    spec: Obj
    environment: Environment
    conditions: list[Condition]
    variables: Mapping[str, Expression]

    @property
    def fails(self) -> bool:
        return self.spec.get("failurePolicy") != "Ignore"


def policy(obj: Obj) -> Policy:
    spec = obj["spec"]
    environment = WITH_AUTHORIZER
    if spec.get("paramKind") is not None:
        environment = environment.with_variables(params=cel.DYN)
    conditions = [
        Condition(c["name"], compiled(c["expression"], environment))
        for c in spec.get("matchConditions") or ()
    ]
    fields: dict[str, cel.CelType] = {}
    environment = environment.with_struct(_VARIABLES, fields)
    environment = environment.with_variables(variables=cel.struct(_VARIABLES))
    variables: dict[str, Expression] = {}
    for variable in spec.get("variables") or ():
        text = variable["expression"]
        variables[variable["name"]] = compiled(text, environment)
        try:
            fields[variable["name"]] = environment.compile(text)
        except CompileError:
            fields[variable["name"]] = cel.DYN
    return Policy(obj["metadata"]["name"], spec, environment, conditions, variables)


T = TypeVar("T")


class Bound(NamedTuple, Generic[T]):
    policy: T
    bindings: Sequence[Obj]


class Bindings(Generic[T]):
    """`compile_` makes of a stored policy what its plugin works with."""

    def __init__(
        self, lister: Lister, policies: Resource, bindings: Resource, compile_: Callable[[Obj], T]
    ) -> None:
        self._lister = lister
        self._policies = policies
        self._resource = bindings
        self._compile = compile_
        self._revisions = (-1, -1)
        self._bound: list[Bound[T]] = []
        self._has_bindings = False
        self._compiled: dict[str, tuple[str, T]] = {}

    def none(self) -> bool:
        """Asked for every write: one look at a revision when there is no binding, whatever policies there are."""
        if self._has_bindings:
            return not self.now()
        return self._revisions[1] == self._lister.revision(self._resource) or not self.now()

    def now(self) -> list[Bound[T]]:
        """By name."""
        revisions = (self._lister.revision(self._policies), self._lister.revision(self._resource))
        if revisions != self._revisions:
            self._bound = self._read()
            self._revisions = revisions
        return self._bound

    def _read(self) -> list[Bound[T]]:
        by_policy: dict[str, list[Obj]] = {}
        for binding in sorted(self._lister.list(self._resource), key=_name):
            by_policy.setdefault(binding["spec"].get("policyName", ""), []).append(binding)
        self._has_bindings = bool(by_policy)
        if not by_policy:
            self._compiled.clear()
            return []
        found = [
            obj for obj in sorted(self._lister.list(self._policies), key=_name) if _name(obj) in by_policy
        ]
        kept = {_name(obj): self._kept(obj) for obj in found}
        self._compiled = kept
        return [Bound(kept[_name(obj)][1], by_policy[_name(obj)]) for obj in found]

    def _kept(self, obj: Obj) -> tuple[str, T]:
        meta = obj["metadata"]
        revision = f"{meta.get('uid', '')}/{meta.get('generation', meta.get('resourceVersion', ''))}"
        known = self._compiled.get(meta["name"])
        return known if known is not None and known[0] == revision else (revision, self._compile(obj))


def _name(obj: Obj) -> str:
    name: str = obj["metadata"]["name"]
    return name
