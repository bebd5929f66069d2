"""A stage: whom it selects, how long it waits, what it does then. Pure; chance and time are handed in.

The rules are kwok's (pkg/utils/lifecycle). A worked example, pod-ready of kwok's "fast" stages:

    selector   .metadata.deletionTimestamp DoesNotExist, .status.podIP DoesNotExist
    delay      none
    steps      patch status with phase Running, conditions, containers that run
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Literal, NamedTuple

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.kit.world import parse_timestamp
from pilothouse.nodes.stages.queries import Query, Subject, Values
from pilothouse.nodes.stages.templates import Template, TemplateError

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]


# -- whom it selects ------------------------------------------------------------------------------------


def _text(value: Any) -> str | None:
    """As `values` of a requirement name it; None for what they cannot name."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float) else None


def _is_in(found: Values, wanted: frozenset[str]) -> bool:
    return any(_text(value) in wanted for value in found)


def _exists(found: Values, _: frozenset[str]) -> bool:
    return any(value is not None for value in found)


OPERATORS: Mapping[str, Callable[[Values, frozenset[str]], bool]] = {
    "In": _is_in,
    "NotIn": lambda found, wanted: not _is_in(found, wanted),
    "Exists": _exists,
    "DoesNotExist": lambda found, wanted: not _exists(found, wanted),
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a jq filter finds, against an operator and its values."""

    key: Query
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, subject: Subject) -> bool:
        return OPERATORS[self.operator](self.key.values(subject) or [], self.values)


@dataclass(frozen=True, slots=True)
class Condition:
    """A CEL expression that must be true."""

    expression: Query

    def holds(self, subject: Subject) -> bool:
        return self.expression.values(subject) == [True]


@dataclass(frozen=True, slots=True)
class Selector:
    """All of it must hold; an empty one selects everything."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    requirements: tuple[Requirement | Condition, ...]

    def selects(self, subject: Subject) -> bool:
        meta = subject.obj["metadata"]
        return (
            _has(meta.get("labels"), self.labels)
            and _has(meta.get("annotations"), self.annotations)
            and all(requirement.holds(subject) for requirement in self.requirements)
        )


def _has(present: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    return all((present or {}).get(key) == value for key, value in wanted.items())


# -- how long it waits, and how heavy it is ---------------------------------------------------------------


_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_AMOUNT = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"[+-]?(?:{_AMOUNT})+")
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:\d{2})")


def _seconds(value: Any, now_s: float) -> float | None:
    """Of a Go duration, or until an RFC 3339 time; None for anything else."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not isinstance(value, str):
        return None
    if _RFC3339.fullmatch(value):
        return parse_timestamp(value) - now_s
    if value == "0":
        return 0.0
    if not _DURATION.fullmatch(value):
        return None
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(_AMOUNT, value))
    return -seconds if value.startswith("-") else seconds


@dataclass(frozen=True, slots=True)
class Duration:
    """What `query` says of the object, else `fixed_s`; None: no duration at all."""

    fixed_s: float | None = None
    query: Query | None = None

    def seconds(self, subject: Subject, now_s: float) -> float | None:
        found = self.query.values(subject) if self.query is not None else None
        if not found or found[0] is None:
            return self.fixed_s
        if found[0] == "":
            return None
        said = _seconds(found[0], now_s)
        return self.fixed_s if said is None else said


@dataclass(frozen=True, slots=True)
class Delay:
    duration: Duration
    jitter: Duration

    def seconds(self, subject: Subject, now_s: float, random: Random) -> float:
        """Between duration and jitter, at random; the jitter when it is the shorter. Negative: overdue."""
        least_s = self.duration.seconds(subject, now_s)
        if least_s is None:
            return 0.0
        most_s = self.jitter.seconds(subject, now_s)
        if most_s is None:
            return least_s
        return most_s if most_s <= least_s else random.uniform(least_s, most_s)


AT_ONCE = Delay(Duration(0.0), Duration())


@dataclass(frozen=True, slots=True)
class Weight:
    """What `query` says of the object, else `fixed`."""

    fixed: int = 0
    query: Query | None = None

    def of(self, subject: Subject) -> int | None:
        """None when the object names something that is no number."""
        found = self.query.values(subject) if self.query is not None else None
        if not found or not isinstance(found[0], str | int | float) or isinstance(found[0], bool):
            return self.fixed
        try:
            return int(found[0], 0) if isinstance(found[0], str) else int(found[0])
        except ValueError:
            return None


# -- what it does -----------------------------------------------------------------------------------------


class Event(NamedTuple):
    type: str
    reason: str
    message: str


class Finalizers(NamedTuple):
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    empty: bool = False

    def operations(self, present: Sequence[str]) -> list[Obj]:
        """The JSON patch that changes those that are present."""
        kept = [] if self.empty else [name for name in present if name not in self.remove]
        wanted = [*kept, *(name for name in self.add if name not in kept)]
        if wanted == list(present):
            return []
        if not wanted:
            return [{"op": "remove", "path": "/metadata/finalizers"}]
        return [{"op": "add", "path": "/metadata/finalizers", "value": wanted}]


@dataclass(frozen=True, slots=True)
class Patch:
    """A template whose text is the patch below `root` ("" for the whole object)."""

    template: Template
    subresource: str = ""
    root: str = ""
    type: Literal["json", "merge", "strategic"] = "strategic"

    def body(self, rendered: Any) -> Any:
        """TemplateError when what was rendered is no patch of this type."""
        if self.type == "json":
            if not isinstance(rendered, list) or not all(isinstance(o, dict) for o in rendered):
                raise TemplateError("a json patch must be a list of operations")
            prefix = f"/{self.root}" if self.root else ""
            return [{**operation, "path": prefix + operation.get("path", "")} for operation in rendered]
        if not isinstance(rendered, dict):
            raise TemplateError("a patch must be a map")
        return {self.root: rendered} if self.root else rendered


@dataclass(frozen=True, slots=True)
class Step:
    """What is set happens in this order."""

    event: Event | None = None
    finalizers: Finalizers | None = None
    delete: bool = False
    patch: Patch | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """`selector` None selects nothing."""

    name: str
    resource: Resource
    selector: Selector | None
    steps: tuple[Step, ...]
    weight: Weight = Weight()
    delay: Delay = AT_ONCE
    immediate: bool = False
    """The next stage is looked for in the answer to this one's last write, before any watch tells of it."""

    def selects(self, subject: Subject) -> bool:
        return self.selector is not None and self.selector.selects(subject)


def choose(stages: Sequence[Stage], subject: Subject, random: Random) -> Stage | None:
    """One of the stages that select an object, by their weights.

    Without any weight all are alike; those whose weight is no number then count for nothing beside others."""
    found = [stage for stage in stages if stage.selects(subject)]
    if len(found) < 2:
        return found[0] if found else None
    weights = [stage.weight.of(subject) for stage in found]
    if sum(weight or 0 for weight in weights) > 0:
        return random.choices(found, [max(weight or 0, 0) for weight in weights])[0]
    known = [stage for stage, weight in zip(found, weights, strict=True) if weight is not None]
    return random.choice(known or found)
