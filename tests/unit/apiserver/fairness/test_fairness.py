"""Priority and fairness as a client sees it: by which FlowSchema it goes, when it is refused, what is shown of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from prometheus_client import generate_latest

from pilothouse.apiserver import request_info
from pilothouse.apiserver.fairness import shares
from pilothouse.apiserver.request import Request, Response, UserInfo
from tests.served import ADMIN, Api, api

SCHEMAS = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas"
LEVELS = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
AUTHENTICATED = "system:authenticated"
ANN = UserInfo("ann", groups=("system:masters-not", AUTHENTICATED))


def account(namespace: str, name: str) -> UserInfo:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return UserInfo(f"system:serviceaccount:{namespace}:{name}", groups=groups)


NODE = UserInfo("system:node:n", groups=("system:nodes", AUTHENTICATED))
KCM = UserInfo("system:kube-controller-manager", groups=(AUTHENTICATED,))
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


@pytest.mark.parametrize(
    ("user", "method", "path", "schema", "level"),
    [
        (ADMIN, "GET", CONFIG_MAPS, "exempt", "exempt"),
        (ANN, "GET", CONFIG_MAPS, "global-default", "global-default"),
        (ANN, "GET", "/healthz", "probes", "exempt"),
        (
            UserInfo("system:anonymous", groups=("system:unauthenticated",)),
            "GET",
            "/livez",
            "probes",
            "exempt",
        ),
        (account("default", "a"), "GET", CONFIG_MAPS, "service-accounts", "workload-low"),
        (account("kube-system", "a"), "GET", CONFIG_MAPS, "kube-system-service-accounts", "workload-high"),
        (account("kube-system", "a"), "PUT", f"{LEASES}/x", "system-leader-election", "leader-election"),
        (KCM, "PUT", f"{LEASES}/x", "system-leader-election", "leader-election"),
        (KCM, "GET", CONFIG_MAPS, "kube-controller-manager", "workload-high"),
        (KCM, "PUT", "/api/v1/namespaces/x/endpoints/e", "endpoint-controller", "workload-high"),
        (NODE, "PATCH", "/api/v1/nodes/n/status", "system-node-high", "node-high"),
        (NODE, "GET", "/api/v1/namespaces/x/pods/p", "system-nodes", "system"),
        (
            UserInfo("system:kube-scheduler", groups=(AUTHENTICATED,)),
            "GET",
            "/api/v1/pods",
            "kube-scheduler",
            "workload-high",
        ),
    ],
)
def test_the_default_schemas(
    served: Api, user: UserInfo, method: str, path: str, schema: str, level: str
) -> None:
    request = Request(method, path, {}, {}, None, user)
    request.info = request_info.parse(method, path, {})
    flow = served.served.api.pipeline.traffic.flow(request, user)
    assert (flow.counts.schema, flow.counts.level) == (schema, level)
    uids = [
        served.ask("GET", f"{p}/{n}").body["metadata"]["uid"] for p, n in ((SCHEMAS, schema), (LEVELS, level))
    ]
    assert flow.uids == tuple(uids)


def test_seats_are_shared_out() -> None:
    levels = [
        {"metadata": {"name": "a"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 40}}},
        {"metadata": {"name": "b"}, "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 5}}},
        {"metadata": {"name": "e"}, "spec": {"type": "Exempt"}},
    ]
    assert shares.nominal_limits(levels, 600) == {"a": 534, "b": 67, "e": 0}


@pytest.fixture(scope="module")
def served() -> Any:
    with api() as server:
        yield server


def level(name: str, shares_: int, response: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name},
        "spec": {
            "type": "Limited",
            "limited": {"nominalConcurrencyShares": shares_, "limitResponse": response},
        },
    }


def schema(name: str, level_name: str) -> dict[str, Any]:
    everything = {
        "verbs": ["*"],
        "apiGroups": ["*"],
        "resources": ["*"],
        "clusterScope": True,
        "namespaces": ["*"],
    }
    return {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {
            "matchingPrecedence": 50,
            "priorityLevelConfiguration": {"name": level_name},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [
                {"subjects": [{"kind": "User", "user": {"name": "ann"}}], "resourceRules": [everything]}
            ],
        },
    }


def settle(server: Api) -> None:
    """What follows a write in the server's own tasks."""
    for _ in range(20):
        server.ask("GET", "/version")


def condition(server: Api, name: str) -> tuple[str, str, str]:
    for _ in range(50):
        settle(server)
        status = server.ask("GET", f"{SCHEMAS}/{name}").body.get("status") or {}
        for found in status.get("conditions") or ():
            return found["status"], found["reason"], found["message"]
    return ("", "", "")


def test_a_schema_without_its_level_dangles(served: Api) -> None:
    assert served.ask("POST", SCHEMAS, schema("lost", "nowhere")).status == 201
    assert condition(served, "lost") == (
        "True",
        "NotFound",
        'This FlowSchema references the PriorityLevelConfiguration object named "nowhere" but there is no such object',
    )
    assert served.ask("POST", LEVELS, level("nowhere", 1, {"type": "Reject"})).status == 201
    for _ in range(50):
        if condition(served, "lost")[0] == "False":
            break
    assert condition(served, "lost") == (
        "False",
        "Found",
        'This FlowSchema references the PriorityLevelConfiguration object named "nowhere" and it exists',
    )
    managers = served.ask("GET", f"{SCHEMAS}/lost").body["metadata"]["managedFields"]
    [manager] = [m for m in managers if m.get("subresource") == "status"]
    assert manager["manager"] == "api-priority-and-fairness-config-consumer-v1"
    assert manager["operation"] == "Apply"
    served.ask("DELETE", f"{SCHEMAS}/lost")
    served.ask("DELETE", f"{LEVELS}/nowhere")


class Slow:
    """Creates that wait inside the server, after they got their seats."""

    def __init__(self, server: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = asyncio.Event()
        handler = server.served.api.pipeline._handler

        async def slowly(request: Request) -> Response:
            if "slow" in request.query:
                await self.go.wait()
            return await handler(request)

        monkeypatch.setattr(server.served.api.pipeline, "_handler", slowly)


def narrow(server: Api, response: dict[str, Any]) -> None:
    """All that ann asks goes by a level with one seat; and she may do everything."""
    server.ask("POST", LEVELS, level("narrow", 1, response))
    server.ask("POST", SCHEMAS, schema("narrow", "narrow"))
    group = "rbac.authorization.k8s.io"
    bind = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "ann"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": group}],
    }
    server.ask("POST", f"/apis/{group}/v1/clusterrolebindings", bind)
    assert condition(server, "narrow")[0] == "False"


def by_ann(**query: list[str]) -> Request:
    return Request("GET", CONFIG_MAPS, query, {}, None, ANN)


def test_beyond_its_seats_a_level_refuses_and_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with api(requests_inflight_max=2, mutating_inflight_max=1) as server:
        narrow(server, {"type": "Reject"})
        slow = Slow(server, monkeypatch)
        handle = server.served.api.handle

        async def play() -> Response:
            first = asyncio.ensure_future(handle(by_ann(slow=["1"])))
            await asyncio.sleep(0)
            refused = await handle(by_ann())
            slow.go.set()
            assert (await first).status == 200
            return refused

        refused = server._runner.run(play())
        assert refused.status == 429
        assert refused.body == b"Too many requests, please try again later.\n"
        assert refused.headers["Retry-After"] == "1"
        lines = generate_latest(server.served.api.metrics).decode().splitlines()
        [line] = [li for li in lines if li.startswith("apiserver_flowcontrol_rejected_requests_total{")]
        assert 'priority_level="narrow"' in line and 'reason="concurrency-limit"' in line
        assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="narrow"} 1.0' in lines


def test_who_waits_is_seen_in_the_dumps(monkeypatch: pytest.MonkeyPatch) -> None:
    with api(requests_inflight_max=2, mutating_inflight_max=1) as server:
        queuing = {"queues": 4, "handSize": 1, "queueLengthLimit": 5}
        narrow(server, {"type": "Queue", "queuing": queuing})
        slow = Slow(server, monkeypatch)
        handle = server.served.api.handle

        async def play() -> list[str]:
            asked = [asyncio.ensure_future(handle(by_ann(slow=["1"]))) for _ in range(3)]
            await asyncio.sleep(0.01)
            texts = []
            for name in ("dump_priority_levels", "dump_queues", "dump_requests"):
                path = f"/debug/api_priority_and_fairness/{name}"
                answer = await handle(Request("GET", path, {"includeRequestDetails": ["1"]}, {}, None, ADMIN))
                assert isinstance(answer.body, bytes)
                texts.append(answer.body.decode())
            slow.go.set()
            assert {(await one).status for one in asked} == {200}
            return texts

        levels, queues, requests = server._runner.run(play())
        [line] = [li for li in levels.splitlines() if li.startswith("narrow,")]
        assert line.split()[1:] == ["1,", "false,", "false,", "2,", "1"]
        assert levels.splitlines()[0].split() == [
            "PriorityLevelName,", "ActiveQueues,", "IsIdle,", "IsQuiescing,", "WaitingRequests,", "ExecutingRequests",
        ]  # fmt: skip
        assert sum(li.startswith("narrow,") for li in queues.splitlines()) == 4
        waiting = [li for li in requests.splitlines() if li.startswith("narrow,")]
        assert len(waiting) == 2
        assert "ann," in waiting[0] and CONFIG_MAPS in waiting[0]


def test_without_it_two_numbers_limit() -> None:
    with api(fairness=False, requests_inflight_max=1, mutating_inflight_max=1) as server:
        request = Request("GET", "/version", {}, {}, None, ANN)
        assert server.run(request).status == 200
        assert request.flow is None
        text = generate_latest(server.served.api.metrics).decode()
        assert "apiserver_flowcontrol" not in text


def test_answers_name_the_schema_and_the_level(served: Api) -> None:
    request = Request("GET", "/version", {}, {}, None, ANN)
    served.run(request)
    found = json.loads(json.dumps(served.ask("GET", f"{SCHEMAS}/global-default").body))
    assert request.flow is not None and request.flow[0] == found["metadata"]["uid"]


def test_the_mandatory_objects_come_back() -> None:
    with api() as server:
        for path, name in ((SCHEMAS, "catch-all"), (LEVELS, "exempt")):
            assert server.ask("DELETE", f"{path}/{name}").status == 200
            for _ in range(50):
                settle(server)
                if server.ask("GET", f"{path}/{name}").status == 200:
                    break
            assert server.ask("GET", f"{path}/{name}").status == 200
