"""A workload's operations with its parameters put in, pod sets unrolled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.scheduler_perf.fields import PARAMETERS, Form
from benchmarks.scheduler_perf.read import Case, Operation, Reference, Workload, WorkloadError, duration_s


@dataclass
class Params:
    """A workload's parameters; remembers which were asked for."""

    workload: str
    values: Mapping[str, Any]
    used: set[str] = field(default_factory=set)

    def get(self, reference: str) -> Any:
        """The value of $NAME."""
        name = reference.removeprefix("$")
        if name not in self.values:
            raise WorkloadError(f"workload {self.workload}: parameter {name} is undefined")
        self.used.add(name)
        return self.values[name]

    def of_form(self, reference: str, form: Form) -> Any:
        value = self.get(reference)
        where = f"workload {self.workload}: parameter {reference[1:]}"
        if form == "duration":
            return duration_s(value, where)
        if form == "flag" and isinstance(value, bool):
            return value
        if form == "text" and isinstance(value, str):
            return value
        if form == "count" and isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value)
        raise WorkloadError(f"{where}: {value!r} is not a {form}")

    def check_used(self) -> None:
        """Upstream refuses a workload with a parameter that no operation uses: it is likely misspelt."""
        unused = sorted(set(self.values) - self.used)
        if unused:
            raise WorkloadError(f"workload {self.workload}: no operation uses {', '.join(unused)}")


def resolved(case: Case, workload: Workload) -> list[Operation]:
    """What is to be done, in order; a pod set is one createPods for each of its namespaces. WorkloadError."""
    params = Params(f"{case.name}/{workload.name}", workload.params)
    found: list[Operation] = []
    for operation in case.operations:
        found += _unrolled(_filled(operation, params), params)
    params.check_used()
    return found


def _filled(operation: Operation, params: Params) -> Operation:
    values = {
        name: value.parse(params.get(value.name)) if isinstance(value, Reference) else value
        for name, value in operation.values.items()
    }
    for name, parameter in PARAMETERS.items():
        reference = values.pop(name, "")
        if not reference:
            continue
        value = params.of_form(reference, parameter.form)
        values[parameter.target] = values.get(parameter.target, 0) * value if parameter.factor else value
    if "templateParams" in values:
        values["templateParams"] = {
            key: params.get(value) if isinstance(value, str) and value.startswith("$") else value
            for key, value in values["templateParams"].items()
        }
    if values.get("steadyState") and not values.get("duration"):
        raise WorkloadError(f"workload {params.workload}: steadyState needs a duration")
    return Operation(operation.opcode, values)


def _unrolled(operation: Operation, params: Params) -> Iterable[Operation]:
    if operation.opcode != "createPodSets":
        return (operation,)
    pods = _filled(operation.values["createPodsOp"], params)
    prefix = operation.values["namespacePrefix"]
    return [
        Operation(pods.opcode, {**pods.values, "namespace": f"{prefix}-{number}"})
        for number in range(operation.values.get("count", 0))
    ]
