"""What Windows pods may ask for."""

from __future__ import annotations

import pytest

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.pods import security


def options_errors(options: Obj) -> list[str]:
    out: f.Errors = []
    security.container_context({"windowsOptions": options}, "c", {}, out)
    return [f"{e.field}: {e.detail}" for e in out]


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ("", " cannot be an empty string"),
        ("a\x01", " cannot contain control characters"),
        ("a\\b\\c", " cannot contain more than one backslash"),
        (".d\\u", "'s Domain doesn't match the NetBios nor the DNS format"),
        ("d\\", "'s User cannot be empty"),
        ("x" * 105, "'s User length must not be longer than 104 characters"),
        ("...", "'s User cannot contain only periods or spaces"),
        ("a:b", "'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"),
    ],
)
def test_user_names(user: str, why: str) -> None:
    assert options_errors({"runAsUserName": user}) == [f"c.windowsOptions.runAsUserName: runAsUserName{why}"]


def test_names_that_are_fine() -> None:
    for user in ("ContainerUser", "DOM\\user", "corp.example.com\\user"):
        assert options_errors({"runAsUserName": user, "gmsaCredentialSpecName": "web.gmsa"}) == []


def test_credentials() -> None:
    found = options_errors({"gmsaCredentialSpecName": "A", "gmsaCredentialSpec": "x" * (64 * 1024 + 1)})
    assert [e.partition(":")[0] for e in found] == [
        "c.windowsOptions.gmsaCredentialSpecName",
        "c.windowsOptions.gmsaCredentialSpec",
    ]
    assert found[1].endswith("gmsaCredentialSpec size must be under 64 KiB")


def test_containers_of_the_host_come_together_and_in_its_network() -> None:
    hosted = {"securityContext": {"windowsOptions": {"hostProcess": True}}}
    spec: Obj = {"containers": [hosted, {}]}
    out: f.Errors = []
    security.host_process(spec, "spec", out)
    assert [(e.field, e.detail) for e in out] == [
        (
            "spec",
            "If pod contains any hostProcess containers then all containers must be HostProcess containers",
        ),
        ("spec.hostNetwork", "hostNetwork must be true if pod contains any hostProcess containers"),
    ]
    out.clear()
    security.host_process({**hosted, "hostNetwork": True, "containers": [{}, {}]}, "spec", out)
    assert out == []
    denied = {"securityContext": {"windowsOptions": {"hostProcess": False}}}
    security.host_process({**denied, "hostNetwork": True, "containers": [hosted]}, "spec", out)
    assert [(e.field, e.detail) for e in out] == [
        (
            "spec.containers[0].securityContext.windowsOptions.hostProcess",
            "pod hostProcess value must be identical if both are specified, was false",
        )
    ]
