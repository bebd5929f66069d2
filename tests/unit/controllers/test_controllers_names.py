"""--controllers, as upstream's IsControllerEnabled reads it."""

from __future__ import annotations

import pytest

from pilothouse.controllers import manager, names

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
    with pytest.raises(ValueError, match="job-controller is not served yet"):
        names.selected(["*", "job"], SERVED)


def test_loops_of_a_cloud_are_known_and_run_elsewhere() -> None:
    selection = names.select(["*", "route"], SERVED, {})
    assert selection.names == ["deployment-controller", "endpoints-controller"]
    assert selection.skipped == [
        "controller node-route-controller belongs to the cloud controller manager: it does not run here"
    ]


GATED = (*SERVED, "storageversion-garbage-collector-controller")


def test_a_controller_waits_for_its_feature_gates() -> None:
    assert names.select(["*"], GATED, {}).names == ["deployment-controller", "endpoints-controller"]
    assert names.select(["*"], GATED, {"StorageVersionAPI": True}).names[-1] == GATED[-1]
    off = {"StorageVersionAPI": True, "APIServerIdentity": False}
    assert names.select(["storage-version-gc"], GATED, off) == (
        [],
        [f"controller {GATED[-1]} is disabled by a feature gate: APIServerIdentity"],
    )


def test_every_controller_of_the_table_is_a_known_one() -> None:
    assert set(manager.TABLE) <= names.UPSTREAM | names.OWN
