"""A workload file, read and checked: cases, each with a list of operations and the workloads that parametrize it.

Whatever is wrong with a file is said in one line that names the case, the operation and the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.scheduler_perf import fields
from benchmarks.scheduler_perf.fields import Form, Opcode

THROUGHPUT = "SchedulingThroughput"


class WorkloadError(ValueError):
    """A workload file that cannot be used; its text is one line for the person who wrote it."""


@dataclass(frozen=True)
class Selector:
    """The figure that a threshold is for; `bucket` is Average, Perc99, …"""

    name: str = THROUGHPUT
    labels: Mapping[str, str] = field(default_factory=dict)
    bucket: str = "Average"
    expects_lower: bool = False


@dataclass(frozen=True)
class Reference:
    """$NAME where a field's value goes: a workload's parameter, checked as the value would have been.

    Upstream has a field of its own for each value that may be a parameter (countParam, …); here every field of an
    operation may be one.
    """

    name: str
    parse: Callable[[Any], Any]


@dataclass(frozen=True)
class Operation:
    """One step. `values` by field name, as the file has them; paths are found already."""

    opcode: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Workload:
    """One parametrization of a case; what the case says as well is merged in."""

    name: str
    params: Mapping[str, Any]
    labels: frozenset[str]
    thresholds: Mapping[str, float]
    """By topic; "" for all others."""
    selector: Selector
    gates: Mapping[str, bool]

    def threshold(self, topic: str = "") -> float:
        """0 for none."""
        return self.thresholds.get(topic, self.thresholds.get("", 0.0))


def with_params(workload: Workload, given: Mapping[str, Any]) -> Workload:
    """The same with other values, which the figures' names then do not tell; WorkloadError for a parameter that it
    does not have. A threshold is for the parameters of the file, so it goes."""
    if not given:
        return workload
    unknown = sorted(given.keys() - workload.params.keys())
    if unknown:
        raise WorkloadError(f"workload {workload.name} has no parameter {unknown[0]}")
    return replace(workload, params={**workload.params, **given}, thresholds={})


@dataclass(frozen=True)
class Case:
    name: str
    operations: tuple[Operation, ...]
    workloads: tuple[Workload, ...]
    default_pod_template: Path | None
    scheduler_config: Path | None
    metrics: Mapping[str, Any] | None


def read(file: Path) -> list[Case]:
    """Every case of a file. WorkloadError for what is wrong in it, OSError when it cannot be read."""
    try:
        found = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise WorkloadError(f"{file}: {' '.join(str(error).split())}") from None
    if not isinstance(found, list) or not found:
        raise WorkloadError(f"{file}: a list of test cases is expected")
    cases = [_Reader(file.parent, f"{file.name}").case(entry) for entry in found]
    _unique((case.name for case in cases), f"{file.name}: case")
    return cases


def select(cases: Iterable[Case], name: str) -> tuple[Case, Workload]:
    """By CASE/WORKLOAD; a workload's name may have slashes itself. WorkloadError when there is none."""
    cases = list(cases)
    case_name, _, workload_name = name.partition("/")
    named = [case for case in cases if case.name == case_name]
    if not named:
        raise WorkloadError(f"no case {case_name!r}; there are {', '.join(case.name for case in cases)}")
    for case in named:
        for workload in case.workloads:
            if workload.name == workload_name:
                return case, workload
    names = ", ".join(w.name for case in named for w in case.workloads)
    raise WorkloadError(f"case {case_name} has no workload {workload_name!r}; there are {names}")


def labelled(cases: Iterable[Case], wanted: str) -> list[tuple[Case, Workload]]:
    """Those with some labels: `performance,-short` for one and not the other (label_selector.go)."""
    return [(case, w) for case in cases for w in case.workloads if _has(w.labels, wanted)]


def _has(labels: frozenset[str], wanted: str) -> bool:
    names = [label for label in wanted.split(",") if label]
    return all((name.lstrip("+-") in labels) != name.startswith("-") for name in names)


class _Reader:
    """`directory` is where paths begin; `where` says in errors what is being read."""

    def __init__(self, directory: Path, where: str) -> None:
        self._directory = directory
        self._where = where

    def _inside(self, what: str) -> _Reader:
        return _Reader(self._directory, f"{self._where}: {what}")

    def case(self, entry: Any) -> Case:
        given = self._fields(entry, fields.CASE, required=("name", "workloadTemplate", "workloads"))
        self = self._inside(given["name"])
        steps = self._list(given["workloadTemplate"], "workloadTemplate")
        operations = tuple(self._inside(f"operation {n}").operation(s) for n, s in enumerate(steps))
        if not any(_collects(operation) for operation in operations):
            raise WorkloadError(
                f"{self._where}: no operation collects metrics; set collectMetrics on a createPods"
            )
        workloads = tuple(
            self.workload(entry, given) for entry in self._list(given["workloads"], "workloads")
        )
        _unique((w.name for w in workloads), f"{self._where}: workload")
        return Case(
            given["name"],
            operations,
            workloads,
            given.get("defaultPodTemplatePath"),
            given.get("schedulerConfigPath"),
            given.get("metricsCollectorConfig"),
        )

    def workload(self, entry: Any, case: Mapping[str, Any]) -> Workload:
        given = self._fields(entry, fields.WORKLOAD, required=("name",))
        self = self._inside(given["name"])
        selector = given.get("thresholdMetricSelector") or case.get("defaultThresholdMetricSelector")
        return Workload(
            given["name"],
            given.get("params") or {},
            frozenset((*(case.get("labels") or ()), *(given.get("labels") or ()))),
            self._thresholds(given.get("threshold")),
            self._selector(selector) if selector is not None else Selector(),
            {**(case.get("featureGates") or {}), **(given.get("featureGates") or {})},
        )

    def _thresholds(self, given: Any) -> Mapping[str, float]:
        found = given if isinstance(given, dict) else {"": given or 0}
        for value in found.values():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise WorkloadError(f"{self._where}: threshold {value!r} is not a number from 0 on")
        return {topic: float(value) for topic, value in found.items()}

    def _selector(self, entry: Any) -> Selector:
        given = self._fields(entry, fields.SELECTOR, required=("name",))
        return Selector(
            given["name"],
            given.get("labels") or {},
            given.get("dataBucket") or "Average",
            given.get("expectLower", False),
        )

    def operation(self, entry: Any) -> Operation:
        if not isinstance(entry, dict):
            raise WorkloadError(f"{self._where}: an operation with an opcode is expected, not {entry!r}")
        folded = {str(key).lower(): key for key in entry}
        opcode = entry.get(folded.get("opcode", ""), "")
        known = fields.OPCODES.get(opcode)
        if known is None:
            raise WorkloadError(
                f"{self._where}: unknown opcode {opcode!r}; known are {', '.join(fields.OPCODES)}"
            )
        self = self._inside(opcode)
        table: Mapping[str, Form] = {"opcode": "text", **known.fields}
        given = self._fields(entry, table, known.required, parameters=True)
        del given["opcode"]
        self._check(opcode, known, given)
        return Operation(opcode, given)

    def _check(self, opcode: str, known: Opcode, given: dict[str, Any]) -> None:
        for (of, name), choices in fields.CHOICES.items():
            value = given.get(name, choices[0])
            if of == opcode and not isinstance(value, Reference) and value not in choices:
                raise WorkloadError(
                    f"{self._where}: {name} must be one of {', '.join(filter(None, choices))}, "
                    f"not {given[name]!r}"
                )
        chosen = [name for name in fields.STRATEGIES if name in given]
        if len(chosen) > 1:
            raise WorkloadError(f"{self._where}: {' and '.join(chosen)} exclude each other")
        for name in chosen:
            given[name] = self._inside(name)._fields(given[name], fields.STRATEGIES[name])
        if given.get("skipWaitToCompletion") and (given.get("collectMetrics") or given.get("steadyState")):
            raise WorkloadError(
                f"{self._where}: skipWaitToCompletion excludes collectMetrics and steadyState"
            )
        if given.get("mode") == "recreate" and not given.get("number"):
            raise WorkloadError(f"{self._where}: number must be set when mode is recreate")

    # -- values -----------------------------------------------------------------------------------------

    def _list(self, given: Any, name: str) -> list[Any]:
        if not isinstance(given, list) or not given:
            raise WorkloadError(f"{self._where}: {name} must be a list with something in it")
        return given

    def _fields(
        self,
        entry: Any,
        known: Mapping[str, Form],
        required: Iterable[str] = (),
        *,
        parameters: bool = False,
    ) -> dict[str, Any]:
        """An entry's values by the names of the table. WorkloadError for others, and for those that lack.
        `parameters`: a value may be $NAME."""
        if not isinstance(entry, dict):
            raise WorkloadError(f"{self._where}: fields are expected, not {entry!r}")
        names = {name.lower(): name for name in known}
        found: dict[str, Any] = {}
        for key, value in entry.items():
            name = names.get(str(key).lower())
            if name is None:
                raise WorkloadError(f"{self._where}: unknown field {key!r}; known are {', '.join(known)}")
            if value is None:
                continue
            form = known[name]
            if parameters and form != "parameter" and isinstance(value, str) and value.startswith("$"):
                found[name] = Reference(value, partial(self._value, name, form=form))
            else:
                found[name] = self._value(name, value, form)
        for name in required:
            if found.get(name) in (None, "", []):
                raise WorkloadError(f"{self._where}: {name} must be set")
        return found

    def _value(self, name: str, value: Any, form: Form) -> Any:
        if form == "path":
            return self._path(name, value)
        if form == "paths":
            return [self._path(name, path) for path in self._list(value, name)]
        if form == "operation":
            made = {"opcode": "createPods", **value} if isinstance(value, dict) else value
            return self._inside(name).operation(made)
        if form == "duration":
            return self.duration(name, value)
        if not _FITS[form](value):
            raise WorkloadError(f"{self._where}: {name} must be {_EXPECTED[form]}, not {value!r}")
        return value

    def _path(self, name: str, value: Any) -> Path:
        """Relative to the file's directory, where upstream's tests run; older files to the one above it."""
        if not isinstance(value, str):
            raise WorkloadError(f"{self._where}: {name} must be a path, not {value!r}")
        for base in (self._directory, self._directory.parent):
            if (base / value).is_file():
                return base / value
        raise WorkloadError(f"{self._where}: {name}: there is no file {self._directory / value}")

    def duration(self, name: str, value: Any) -> float:
        return duration_s(value, f"{self._where}: {name}")


_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration_s(value: Any, where: str) -> float:
    """Seconds of a Go duration."""
    text = str(value)
    parts = re.findall(r"([0-9]*\.?[0-9]+)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        if text == "0":
            return 0.0
        raise WorkloadError(f"{where}: {value!r} is not a duration such as 10s or 1m30s")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _is_labels(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


_FITS: Mapping[Form, Callable[[Any], bool]] = {
    "text": lambda v: isinstance(v, str),
    "flag": lambda v: isinstance(v, bool),
    "count": _is_count,
    "parameter": lambda v: isinstance(v, str) and (v.startswith("$") or not v),
    "labels": _is_labels,
    "texts": _is_texts,
    "values": lambda v: isinstance(v, dict),
    "conditions": lambda v: isinstance(v, list),
    "any": lambda v: True,
}
_EXPECTED: Mapping[Form, str] = {
    "text": "text",
    "flag": "true or false",
    "count": "a whole number from 0 on",
    "parameter": "the name of a parameter with a $ before it",
    "labels": "text by text",
    "texts": "a list of texts",
    "values": "values by name",
    "conditions": "a list of conditions",
}


def _collects(operation: Operation) -> bool:
    if operation.opcode == "createPodSets":
        return _collects(operation.values["createPodsOp"])
    if operation.opcode == "createPods":
        return bool(operation.values.get("collectMetrics"))
    return fields.OPCODES[operation.opcode].collects


def _unique(names: Iterable[str], where: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise WorkloadError(f"{where} {name} is there twice")
        seen.add(name)
