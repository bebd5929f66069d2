"""A server whose webhooks answer as a test says, in virtual time; configurations go when a test ends."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from pilothouse.apiserver.webhook_client import WebhookClient, WebhookError
from pilothouse.components.api_server import ServedApi, Serving
from pilothouse.kit.virtual_loop import VirtualLoop
from pilothouse.kit.world import simulated_world
from tests.unit.apiserver.conftest import Api

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
_KINDS = (
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicybindings",
    "validatingadmissionpolicies",
    "mutatingadmissionpolicies",
)

Respond = Callable[[dict[str, Any]], Any]
"""From an AdmissionReview's request to its response, without the uid; or an exception to be raised, or bytes."""


@dataclass
class Webhooks:
    """What stands in for HTTPS: `answers` by URL, and all reviews that came, in order."""

    answers: dict[str, Respond] = field(default_factory=dict)
    reviews: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def post(
        self, config: dict[str, Any], body: bytes, timeout_s: float, *, tell_timeout: bool = False
    ) -> bytes:
        review = msgspec.json.decode(body)
        self.asked.append(config["url"])
        self.reviews.append(review)
        response = self.answers[config["url"]](review["request"])
        if isinstance(response, float):
            if response > timeout_s:
                await asyncio.sleep(timeout_s)
                raise WebhookError(f'Post "{config["url"]}": context deadline exceeded')
            await asyncio.sleep(response)
            response = ALLOWED
        if isinstance(response, Exception):
            raise response
        if isinstance(response, bytes):
            return response
        response = {"uid": review["request"]["uid"], **response}
        answer = {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}
        return msgspec.json.encode(answer)


@dataclass
class Dynamic:
    """A server, its webhooks and its metrics."""

    api: Api
    webhooks: Webhooks
    metrics: CollectorRegistry

    def configure(self, kind: str, name: str, *hooks: dict[str, Any], path: str = CONFIGURATIONS) -> None:
        """`kind` is mutating or validating."""
        body = {"metadata": {"name": name}, "webhooks": list(hooks)}
        answer = self.api("POST", f"{path}/{kind}webhookconfigurations", body)
        assert answer.code == 201, answer.body

    def make(self, plural: str, name: str, spec: dict[str, Any]) -> None:
        answer = self.api("POST", f"{CONFIGURATIONS}/{plural}", {"metadata": {"name": name}, "spec": spec})
        assert answer.code == 201, answer.body

    def count(self, name: str, /, **labels: str) -> float:
        return self.metrics.get_sample_value(name, labels) or 0.0


@pytest.fixture(scope="module")
def _server() -> Iterator[Dynamic]:
    webhooks, metrics = Webhooks(), CollectorRegistry()
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        patch.setattr(WebhookClient, "post", lambda self, *a, **kw: webhooks.post(*a, **kw))
        served = ServedApi(Serving(listen=False), simulated_world(1), metrics)
        runner.run(served.start())
        api = Api(runner, served)
        account = {"metadata": {"name": "default"}}
        assert api("POST", "/api/v1/namespaces/default/serviceaccounts", account).code == 201
        yield Dynamic(api, webhooks, metrics)
        runner.run(served.stop())


@pytest.fixture
def server(_server: Dynamic) -> Iterator[Dynamic]:
    yield _server
    for kind in _KINDS:
        assert _server.api("DELETE", f"{CONFIGURATIONS}/{kind}").code == 200
    _server.webhooks.answers.clear()
    _server.webhooks.reviews.clear()
    _server.webhooks.asked.clear()


def rule(*resources: str, group: str = "", version: str = "v1", operations: str = "CREATE") -> dict[str, Any]:
    return {
        "operations": operations.split(),
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": list(resources),
    }


def hook(name: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A webhook called `name`.example.com at https://`name`."""
    return {
        "name": f"{name}.example.com",
        "clientConfig": {"url": f"https://{name}"},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": list(rules) or [rule("configmaps")],
        **more,
    }


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(msgspec.json.encode(operations)).decode(),
    }


def put(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}


ALLOWED = {"allowed": True}
MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, **({"labels": labels} if labels else {})}, "data": data}
