"""kwok's ResourceUsage and ClusterResourceUsage: what containers use, as a quantity or as a CEL expression
(kwok pkg/kwok/server/metrics_resource_usage.go, pkg/kwok/metrics/evaluator.go, pkg/utils/cel).

    kind: ClusterResourceUsage
    spec:
      selector: {matchNamespaces: [default], matchNames: [web]}    none: all pods
      usages:
      - containers: [app]                                          none: all containers
        usage:
          cpu: {value: 250m}
          memory: {expression: 'Quantity("1Mi") * (pod.SinceSecond() / 60.0)'}

A ResourceUsage is about the one pod that has its name and namespace, and goes before. An expression knows `node`,
`pod` and `container`, kwok's functions `Now`, `Rand`, `SinceSecond`, `UnixSecond` and `Quantity` (all but the first
two as methods, too), and calculates with quantities. Labels, annotations, requests and limits are there when they are
empty. An expression that fails uses nothing, and the log says why.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pilothouse.api import quantity
from pilothouse.api.cel import compiler, types
from pilothouse.api.cel.declarations import Overload
from pilothouse.api.cel.evaluate import EvalError
from pilothouse.api.cel.functions import FUNCTIONS as IMPLEMENTATIONS
from pilothouse.api.quantity import Quantity
from pilothouse.api.types import Obj
from pilothouse.kit.world import World, parse_timestamp
from pilothouse.nodes.stages.queries import QueryError

log = logging.getLogger(__name__)

_NANO = 1e9
_NOTHING = Quantity(0)


class Measure(float):
    """A quantity in an expression: it may be multiplied and divided by whole numbers, too."""


# -- expressions ------------------------------------------------------------------------------------------


def _either(arguments: int) -> tuple[Overload, ...]:
    """As a function and, when it takes something, as a method of that."""
    types_ = (types.DYN,) * arguments
    forms = (False, True) if arguments else (False,)
    return tuple(Overload(is_method, types_, types.DYN) for is_method in forms)


_ENVIRONMENT = compiler.Environment(
    {"node": types.DYN, "pod": types.DYN, "container": types.DYN}
).with_functions(
    {
        "Now": _either(0),
        "now": _either(0),
        "Rand": _either(0),
        "SinceSecond": _either(1),
        "UnixSecond": _either(1),
        "Quantity": _either(1),
    }
)


class Expression:
    """QueryError when it does not compile."""

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self._program = _ENVIRONMENT.program(source)
        except compiler.CompileError as error:
            raise QueryError(" ".join(str(error).split())) from None

    def amount(self, world: World, variables: Mapping[str, Any]) -> Quantity:
        """EvalError when it cannot be evaluated, or yields no number."""
        value = self._program.evaluate(variables, {**IMPLEMENTATIONS, **_functions(world)})
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise EvalError("yields no number")
        return Quantity(max(round(float(value) * _NANO), 0))


def _functions(world: World) -> dict[str, Any]:
    def now() -> datetime:
        return datetime.fromtimestamp(world.now(), UTC)

    def since_s(obj: Obj) -> float:
        made: datetime = obj["metadata"]["creationTimestamp"]
        return (now() - made).total_seconds()

    return {
        "Now": now,
        "now": now,
        "Rand": world.random.random,
        "SinceSecond": since_s,
        "UnixSecond": lambda at: at.timestamp(),
        "Quantity": _measure,
        "_*_": _times,
        "_/_": _over,
        "_+_": _measured("_+_"),
        "_-_": _measured("_-_"),
        "-_": lambda a: Measure(-a) if isinstance(a, Measure) else IMPLEMENTATIONS["-_"](a),
    }


def _measure(text: Any) -> Measure:
    try:
        return Measure(quantity.parse(text).nano / _NANO)
    except ValueError as error:
        raise EvalError(str(error)) from None


def _times(a: Any, b: Any) -> Any:
    if isinstance(a, Measure) or isinstance(b, Measure):
        return Measure(float(a) * float(b))
    return IMPLEMENTATIONS["_*_"](a, b)


def _over(a: Any, b: Any) -> Any:
    if not isinstance(a, Measure):
        return IMPLEMENTATIONS["_/_"](a, b)
    if not b:
        raise EvalError("division by zero")
    return float(a) / b if isinstance(b, Measure) else Measure(float(a) / float(b))


def _measured(operator: str) -> Any:
    plain = IMPLEMENTATIONS[operator]

    def run(a: Any, b: Any) -> Any:
        found = plain(a, b)
        return Measure(found) if isinstance(a, Measure) and isinstance(b, Measure) else found

    return run


def _seen(obj: Obj | None) -> Obj:
    """An object as expressions see it: its time is a time, its quantities are numbers."""
    if obj is None:
        return {}
    meta = obj["metadata"]
    seen: Obj = {
        **obj,
        "metadata": {
            **meta,
            "labels": meta.get("labels") or {},
            "annotations": meta.get("annotations") or {},
            "creationTimestamp": datetime.fromtimestamp(parse_timestamp(meta["creationTimestamp"]), UTC),
        },
    }
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if "containers" in spec:
        seen["spec"] = {**spec, "containers": [_container(c) for c in spec["containers"]]}
    lists = {key: _measures(status[key]) for key in ("capacity", "allocatable") if key in status}
    if lists:
        seen["status"] = {**status, **lists}
    return seen


def _container(container: Obj) -> Obj:
    given = container.get("resources") or {}
    lists = {key: _measures(given.get(key)) for key in ("requests", "limits")}
    return {**container, "resources": {**given, **lists}}


def _measures(amounts: Mapping[str, str] | None) -> dict[str, Measure]:
    return {name: _measure(text) for name, text in (amounts or {}).items()}


# -- whom a usage is about --------------------------------------------------------------------------------


class Usage(NamedTuple):
    """`containers` () are all; amounts by resource."""

    containers: tuple[str, ...]
    amounts: Mapping[str, Quantity | Expression]


@dataclass(frozen=True, slots=True)
class ResourceUsage:
    """`name` and `namespace` are one pod's, or "" for the pods that the two tuples name (() names all)."""

    usages: tuple[Usage, ...]
    name: str = ""
    namespace: str = ""
    match_namespaces: tuple[str, ...] = ()
    match_names: tuple[str, ...] = ()

    def is_about(self, name: str, namespace: str) -> bool:
        if self.name:
            return (self.name, self.namespace) == (name, namespace)
        return (not self.match_namespaces or namespace in self.match_namespaces) and (
            not self.match_names or name in self.match_names
        )

    def of(self, container: str) -> Usage | None:
        """The one that names a container goes before the first that names none."""
        for usage in self.usages:
            if container in usage.containers:
                return usage
        return next((usage for usage in self.usages if not usage.containers), None)


class ResourceUsages:
    """What files say that containers use (`nodes.usage.Described`)."""

    def __init__(self, usages: tuple[ResourceUsage, ...], world: World) -> None:
        self._usages = (*(u for u in usages if u.name), *(u for u in usages if not u.name))
        self._world = world

    def amount(self, resource: str, pod: Obj, container: str, node: Obj | None) -> Quantity | None:
        usage = self._usage(pod["metadata"], container)
        said = usage.amounts.get(resource) if usage is not None else None
        if not isinstance(said, Expression):
            return said
        seen = _seen(pod)
        its = next((c for c in seen["spec"]["containers"] if c["name"] == container), {"name": container})
        try:
            return said.amount(self._world, {"pod": seen, "node": _seen(node), "container": its})
        except EvalError as error:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            log.warning("usage of %s in pod %s: %s: %s", resource, name, said.source, error)
            return _NOTHING

    def _usage(self, meta: Obj, container: str) -> Usage | None:
        """One about the pod alone hides all others."""
        for usage in self._usages:
            if usage.is_about(meta["name"], meta.get("namespace", "")):
                found = usage.of(container)
                if found is not None or usage.name:
                    return found
        return None
