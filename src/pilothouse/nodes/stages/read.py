"""Stage files: YAML documents of kwok's kinds → stages, and what containers use. What is wrong is told in one line.

    FILE: stage NAME: spec.delay.durationMilliseconds: wants a whole number, not "1s"

Read are kwok's fields in all the forms they have had: `next` with `statusTemplate` or `patches`, and `steps`; filters
as `key`, `jq.key` or `expressionFrom`, and CEL as `cel.expression`. `statusPatchAs` and `impersonation` are taken and
change nothing, as kwok does it for pods and nodes. Beside Stage there are ResourceUsage and ClusterResourceUsage
(`usage`); Metric, which kwok's metrics-usage.yaml brings along, changes nothing: /metrics/resource is always there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pilothouse.api.quantity import Quantity, parse
from pilothouse.api.resources import NODES, PODS, Resource
from pilothouse.api.schema.parse import YAML, body
from pilothouse.kit.world import World
from pilothouse.nodes.stages.queries import CelQuery, Query, QueryError, jq_query
from pilothouse.nodes.stages.stage import (
    AT_ONCE,
    OPERATORS,
    Condition,
    Delay,
    Duration,
    Event,
    Finalizers,
    Patch,
    Requirement,
    Selector,
    Stage,
    Step,
    Weight,
)
from pilothouse.nodes.stages.templates import Functions, Template, TemplateError
from pilothouse.nodes.stages.usage import Expression, ResourceUsage, ResourceUsages, Usage

T = TypeVar("T")

API_VERSION = "kwok.x-k8s.io/v1alpha1"
_DOCUMENTS = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
_RESOURCES = {("v1", "Pod"): PODS, ("v1", "Node"): NODES}
_PATCH_TYPES = ("json", "merge", "strategic")
_VALUED = ("In", "NotIn")
_KINDS = ("Stage", "ResourceUsage", "ClusterResourceUsage", "Metric")
_USED = ("cpu", "memory")


class StageError(ValueError):
    """One line: file, stage, field, and what is wrong there."""


class StageSet(NamedTuple):
    """The stages of all files, in order. Their templates call `functions`, which learns the nodes' places later."""

    stages: tuple[Stage, ...]
    functions: Functions
    usages: ResourceUsages | None = None
    """What containers use; None when no file says so."""

    def of(self, resource: Resource) -> tuple[Stage, ...]:
        return tuple(stage for stage in self.stages if stage.resource is resource)


def read(files: Iterable[Path], world: World) -> StageSet:
    """StageError when one cannot be read or understood."""
    functions = Functions(world)
    found = [made for file in files for made in _of_file(file, functions)]
    usages = tuple(made for made in found if isinstance(made, ResourceUsage))
    return StageSet(
        tuple(made for made in found if isinstance(made, Stage)),
        functions,
        ResourceUsages(usages, world) if usages else None,
    )


def _of_file(file: Path, functions: Functions) -> Iterator[Stage | ResourceUsage]:
    try:
        text = file.read_text()
    except OSError as error:
        raise StageError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StageError(f"{file}: no UTF-8 text") from None
    documents = [part for part in _DOCUMENTS.split(text) if part.strip()]
    for number, part in enumerate(documents, 1):
        where = f"{file}: document {number}"
        try:
            value, repeated = body(part.encode(), YAML)
        except ValueError as error:
            raise StageError(
                f"{where}: {str(error).removeprefix('error converting YAML to JSON: ')}"
            ) from None
        if repeated:
            raise StageError(f"{where}: {' '.join(repeated[0].split())}")
        if value is not None:
            yield from _of_document(_Value(value, "", where), str(file), functions)


def _of_document(document: _Value, file: str, functions: Functions) -> Iterator[Stage | ResourceUsage]:
    kind = document.peek("kind")
    if kind == "List" or kind in (f"{known}List" for known in _KINDS):
        for item in document.at("items").items():
            yield from _of_document(item, file, functions)
        return
    version = document.peek("apiVersion")
    if version != API_VERSION or kind not in _KINDS:
        known = ", ".join(_KINDS)
        document.refuse(
            f"wants one of the kinds {known} of {API_VERSION}, not {kind or 'no kind'} of {version or 'none'}"
        )
    name = document.at("metadata").at("name").text()
    if kind == "Stage":
        yield _stage(_Value(document.value, "", f"{file}: stage {name}"), name, functions)
    elif kind != "Metric":
        yield _resource_usage(_Value(document.value, "", f"{file}: {kind} {name}"), kind, name)


# -- values with their place ------------------------------------------------------------------------------


class _Value:
    """A value of a document; `path` and `where` go into what is said of it."""

    def __init__(self, value: Any, path: str, where: str) -> None:
        self.value = value
        self.path = path
        self._where = where

    def refuse(self, what: str) -> None:
        raise StageError(f"{self._where}: {self.path + ': ' if self.path else ''}{what}")

    def peek(self, name: str) -> Any:
        return self.value.get(name) if isinstance(self.value, dict) else None

    def at(self, name: str) -> _Value:
        """A field; `value` None when it is absent."""
        path = f"{self.path}.{name}" if self.path else name
        return _Value(self._map().get(name), path, self._where)

    def given(self, name: str) -> _Value | None:
        found = self.at(name)
        return None if found.value is None else found

    def only(self, *names: str) -> _Value:
        """No other fields than these."""
        for name in self._map():
            if name not in names:
                self.at(name).refuse(f"unknown field; known are {', '.join(names)}")
        return self

    def _map(self) -> dict[str, Any]:
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            self.refuse("wants a map")
        found: dict[str, Any] = self.value
        return found

    def items(self) -> list[_Value]:
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            self.refuse("wants a list")
        return [_Value(item, f"{self.path}[{i}]", self._where) for i, item in enumerate(self.value)]

    def text(self, default: str | None = None) -> str:
        if self.value is None and default is not None:
            return default
        if not isinstance(self.value, str) or (not self.value and default is None):
            self.refuse("wants a text" if self.value else "is required")
        return str(self.value)

    def texts(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self.items())

    def table(self) -> dict[str, str]:
        return {name: self.at(name).text("") for name in self._map()}

    def flag(self) -> bool:
        if not isinstance(self.value, bool | None):
            self.refuse("wants true or false")
        return bool(self.value)

    def count(self) -> int | None:
        if self.value is None:
            return None
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.refuse(f'wants a whole number, not "{self.value}"')
        if self.value < 0:
            self.refuse("must be greater than or equal to 0")
        return int(self.value)

    def amount(self) -> Quantity:
        if not isinstance(self.value, int | float | str) or isinstance(self.value, bool):
            self.refuse("is required" if self.value is None else "wants a quantity such as 250m")
        try:
            return parse(str(self.value))
        except ValueError as error:
            self.refuse(str(error))
            raise

    def one_of(self, known: Iterable[str], default: str | None = None) -> str:
        found = self.text(default)
        if found not in known:
            self.refuse(f'"{found}" is none of {", ".join(known)}')
        return found

    def made(self, make: Callable[[str], T]) -> T:
        """What `make` compiles of this text."""
        text = self.text()
        try:
            return make(text)
        except (QueryError, TemplateError) as error:
            self.refuse(str(error))
            raise


# -- stages -----------------------------------------------------------------------------------------------


def _stage(document: _Value, name: str, functions: Functions) -> Stage:
    document.only("apiVersion", "kind", "metadata", "spec", "status")
    spec = document.at("spec").only(
        "resourceRef", "selector", "weight", "weightFrom", "delay", "next", "steps", "immediateNextStage"
    )
    ref = spec.at("resourceRef").only("apiGroup", "kind")
    wanted = (ref.at("apiGroup").text("v1"), ref.at("kind").text())
    if wanted not in _RESOURCES:
        ref.refuse(f"stages are played for Pod and Node of v1, not for {wanted[1]} of {wanted[0]}")
    if spec.given("next") is not None and spec.given("steps") is not None:
        spec.at("steps").refuse("not beside next")
    selector, delay = spec.given("selector"), spec.given("delay")
    return Stage(
        name,
        _RESOURCES[wanted],
        _selector(selector) if selector is not None else None,
        _steps(spec, functions),
        Weight(spec.at("weight").count() or 0, _query(spec.at("weightFrom"))),
        _delay(delay) if delay is not None else AT_ONCE,
        spec.at("immediateNextStage").flag(),
    )


def _selector(value: _Value) -> Selector:
    value.only("matchLabels", "matchAnnotations", "matchExpressions")
    return Selector(
        value.at("matchLabels").table(),
        value.at("matchAnnotations").table(),
        tuple(_expression(item) for item in value.at("matchExpressions").items()),
    )


def _expression(value: _Value) -> Requirement | Condition:
    cel, nested = value.given("cel"), value.given("jq")
    if cel is not None:
        value.only("cel")
        return Condition(cel.only("expression").at("expression").made(CelQuery))
    if nested is not None:
        value.only("jq")
        value = nested
    value.only("key", "operator", "values")
    operator = value.at("operator").one_of(tuple(OPERATORS))
    values = value.at("values")
    if (operator in _VALUED) != bool(values.value):
        values.refuse(f"must {'' if operator in _VALUED else 'not '}be given with {operator}")
    return Requirement(value.at("key").made(jq_query), operator, frozenset(values.texts()))


def _query(value: _Value) -> Query | None:
    """durationFrom and its like."""
    if value.value is None:
        return None
    value.only("expressionFrom", "jq", "cel")
    jq, cel = value.given("jq"), value.given("cel")
    if cel is not None:
        return cel.only("expression").at("expression").made(CelQuery)
    source = jq.only("expression").at("expression") if jq is not None else value.at("expressionFrom")
    return source.made(jq_query)


def _delay(value: _Value) -> Delay:
    value.only("durationMilliseconds", "durationFrom", "jitterDurationMilliseconds", "jitterDurationFrom")
    least_ms, most_ms = (
        value.at("durationMilliseconds").count(),
        value.at("jitterDurationMilliseconds").count(),
    )
    return Delay(
        Duration((least_ms or 0) / 1000, _query(value.at("durationFrom"))),
        Duration(None if most_ms is None else most_ms / 1000, _query(value.at("jitterDurationFrom"))),
    )


def _steps(spec: _Value, functions: Functions) -> tuple[Step, ...]:
    steps = spec.given("steps")
    if steps is not None:
        return tuple(_step(item, functions) for item in steps.items())
    if spec.given("next") is None:
        spec.at("next").refuse("is required")
    return tuple(_next(spec.at("next"), functions))


def _step(value: _Value, functions: Functions) -> Step:
    value.only("event", "finalizers", "delete", "patch")
    patch = value.given("patch")
    return Step(
        _event(value.at("event")),
        _finalizers(value.at("finalizers")),
        value.at("delete").flag(),
        _patch(patch, functions) if patch is not None else None,
    )


def _next(value: _Value, functions: Functions) -> Iterator[Step]:
    """The older form: an event, finalizers, and then either the end or patches."""
    value.only(
        "event", "finalizers", "delete", "patches", "statusTemplate", "statusSubresource", "statusPatchAs"
    )
    _impersonation(value.at("statusPatchAs"))
    delete = value.at("delete").flag()
    yield Step(_event(value.at("event")), _finalizers(value.at("finalizers")), delete)
    patches = [_patch(item, functions) for item in value.at("patches").items()]
    template = value.given("statusTemplate")
    if template is not None and template.value != "":
        subresource = value.at("statusSubresource").text("status")
        patches.append(Patch(_template(template, functions), subresource, "status"))
    if not delete:
        yield from (Step(patch=patch) for patch in patches)


def _event(value: _Value) -> Event | None:
    if value.value is None:
        return None
    value.only("type", "reason", "message")
    kind = value.at("type").one_of(("Normal", "Warning"), "Normal")
    return Event(kind, value.at("reason").text(""), value.at("message").text(""))


def _finalizers(value: _Value) -> Finalizers | None:
    if value.value is None:
        return None
    value.only("add", "remove", "empty")
    add, remove = (
        tuple(item.only("value").at("value").text() for item in value.at(field).items())
        for field in ("add", "remove")
    )
    return Finalizers(add, remove, value.at("empty").flag())


def _patch(value: _Value, functions: Functions) -> Patch:
    value.only("subresource", "root", "template", "type", "impersonation")
    _impersonation(value.at("impersonation"))
    kind = value.at("type").one_of(_PATCH_TYPES, "strategic")
    return Patch(
        _template(value.at("template"), functions),
        value.at("subresource").text(""),
        value.at("root").text(""),
        kind,  # type: ignore[arg-type]  # one of _PATCH_TYPES
    )


def _template(value: _Value, functions: Functions) -> Template:
    return value.made(lambda source: Template(source, functions))


def _impersonation(value: _Value) -> None:
    if value.value is not None:
        value.only("username").at("username").text()


# -- usage ------------------------------------------------------------------------------------------------


def _resource_usage(document: _Value, kind: str, name: str) -> ResourceUsage:
    document.only("apiVersion", "kind", "metadata", "spec", "status")
    spec = document.at("spec").only("selector", "usages")
    usages = tuple(_usage(item) for item in spec.at("usages").items())
    if kind == "ResourceUsage":
        if spec.given("selector") is not None:
            spec.at("selector").refuse("a ResourceUsage is about the pod of its own name and namespace")
        return ResourceUsage(usages, name, document.at("metadata").at("namespace").text("default"))
    selector = spec.at("selector").only("matchNamespaces", "matchNames")
    return ResourceUsage(
        usages,
        match_namespaces=selector.at("matchNamespaces").texts(),
        match_names=selector.at("matchNames").texts(),
    )


def _usage(value: _Value) -> Usage:
    value.only("containers", "usage")
    usage = value.at("usage")
    amounts = {name: _amount(usage.at(name)) for name in _USED if usage.given(name) is not None}
    return Usage(value.at("containers").texts(), amounts)


def _amount(value: _Value) -> Quantity | Expression:
    value.only("value", "expression")
    if value.given("expression") is not None:
        return value.at("expression").made(Expression)
    return value.at("value").amount()
