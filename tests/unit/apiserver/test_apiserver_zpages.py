"""/statusz and /flagz of kube-apiserver (KEP-4827, KEP-4828)."""

from __future__ import annotations

import re

from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.world import simulated_world
from tests.served import ALICE, api

MONITOR = UserInfo("prometheus", groups=("system:monitoring", "system:authenticated"))
WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is "
    "for debugging purposes only."
)


def test_the_status_page_is_for_those_who_monitor() -> None:
    with api(simulated_world(1)) as server:
        assert server.ask("GET", "/statusz", user=ALICE).status == 403
        answer = server.ask("GET", "/statusz", user=MONITOR)
        assert answer.status == 200
        lines = answer.body.decode().split("\n")
        assert lines[:4] == ["", "kube-apiserver statusz", WARNING, ""]
        assert re.fullmatch(r"Started: \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d UTC \d{4}", lines[4])
        assert lines[5] == "Up: 0 hr 00 min 00 sec"
        assert lines[-2] == "Paths: /flagz /healthz /livez /metrics /readyz /statusz /version"
        form = "application/json;v=v1beta1;g=config.k8s.io;as=Statusz"
        told = server.ask("GET", "/statusz", user=MONITOR, accept=form).body
        assert (told["kind"], told["metadata"]["name"]) == ("Statusz", "kube-apiserver")
        assert server.ask("GET", "/statusz", user=MONITOR, accept="application/yaml").status == 406


def test_flags_are_shown_as_they_stand() -> None:
    with api(flags={"secure-port": "6443", "anonymous-auth": "true"}) as server:
        assert server.ask("GET", "/flagz", user=ALICE).status == 403
        page = server.ask("GET", "/flagz", user=MONITOR).body.decode()
        assert page == f"\nkube-apiserver flagz\n{WARNING}\n\nanonymous-auth=true\nsecure-port=6443\n"
