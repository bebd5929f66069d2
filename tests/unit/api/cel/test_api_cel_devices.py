"""Device selectors (k8s.io/dynamic-resource-allocation/cel/compile.go)."""

from __future__ import annotations

import pytest

from pilothouse.api.cel.compiler import DEVICE, WITH_AUTHORIZER, CompileError
from pilothouse.api.cel.cost import cost_max
from pilothouse.api.cel.devices import COST_MAX, device_sizes
from pilothouse.api.validation import resource

DEVICE_VALUE = {
    "driver": "d",
    "attributes": {"a.com": {"model": "x1", "count": 2}},
    "capacity": {},
    "allowMultipleAllocations": False,
}


def cost(expression: str) -> int:
    return cost_max(DEVICE.program(expression), device_sizes)


@pytest.mark.parametrize(
    "expression",
    [
        "device.driver == 'd'",
        "device.attributes['a.com'].model == 'x1'",
        "device.attributes['a.com'].model.matches('^x[0-9]+$')",
        "device.capacity['a.com'].memory.compareTo(quantity('1Gi')) >= 0",
        "cel.bind(a, device.attributes['a.com'], a.model == 'x1' && a.count > 1)",
        "'a.com' in device.attributes && 'model' in device.attributes['a.com']",
    ],
)
def test_ordinary_selectors_are_cheap(expression: str) -> None:
    assert cost(expression) < COST_MAX


def test_what_a_device_shows_has_sizes() -> None:
    """Two names, an index and a field to get there; the shorter side's characters to compare."""
    assert cost("device.driver == device.driver") == 2 + 2 + 7
    attribute = "device.attributes['a.com'].model"
    assert cost(f"{attribute} == {attribute}") == 4 + 4 + 7
    assert device_sizes(("other",)) is None


def test_loops_over_what_can_be_long_are_dear() -> None:
    once = "device.attributes.all(d, %s)"
    nested = once % (once % (once % "device.attributes.all(e, e == d)"))
    assert cost(nested) > COST_MAX
    gpus = {"metadata": {"name": "gpu"}, "spec": {"selectors": [{"cel": {"expression": nested}}]}}
    (error,) = resource.device_class(gpus)
    assert (error.field, error.detail) == (
        "spec.selectors[0].cel.expression",
        "too complex, exceeds cost limit",
    )


def test_a_name_can_be_bound() -> None:
    bound = DEVICE.program("cel.bind(a, device.attributes['a.com'], a.model == 'x1' && a.count == 2)")
    assert bound.evaluate({"device": DEVICE_VALUE}) is True
    assert cost("cel.bind(a, device.driver, a == a)") == 10 + 2 + 1 + 1 + 7
    with pytest.raises(CompileError, match=r"cel\.bind\(\) variable names must be simple identifiers"):
        DEVICE.check("cel.bind(a.b, 1, true)")
    with pytest.raises(CompileError, match="undeclared reference to 'cel'"):
        WITH_AUTHORIZER.check("cel.bind(a, 1, a == 1)")
