"""--controllers, as upstream's IsControllerEnabled reads it."""

from __future__ import annotations

import pytest

from pilothouse.controllers import names

SERVED = ("deployment-controller", "endpoints-controller", "bootstrap-signer-controller")


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("*", ["deployment-controller", "endpoints-controller"]),
        ("*,bootstrapsigner", list(SERVED)),
        ("*,-deployment-controller", ["endpoints-controller"]),
        ("-deployment,*", ["endpoints-controller"]),
        ("deployment", ["deployment-controller"]),
        ("-endpoint,endpoint", []),
        ("*,-job-controller", ["deployment-controller", "endpoints-controller"]),
        ("", []),
    ],
)
def test_selection(spec: str, wanted: list[str]) -> None:
    assert names.selected(filter(None, spec.split(",")), SERVED) == wanted


def test_an_unknown_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(
        ValueError, match='"deploymnt" is not in the list of known controllers; did you mean deployment'
    ):
        names.selected(["*", "-deploymnt"], SERVED)


def test_upstreams_controllers_that_are_not_served_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="node-route-controller is not served yet"):
        names.selected(["*", "route"], SERVED)
