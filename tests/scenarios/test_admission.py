"""Dynamic admission as its users meet it: webhooks behind real HTTPS and policies, through a real kubectl, and an
operator written with kopf that has admission handlers."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pilothouse.kit.certificates import Authority
from pilothouse.kit.world import World
from tests.conftest import Running
from tests.scenarios.processes import eventually
from tests.scenarios.test_custom_resources import establish, resource
from tests.scenarios.test_kopf_operator import operator
from tests.scenarios.test_main_job import Kubectl, get, runner

_SLOW_S = 3.0


@pytest.fixture
def run(cluster: Running, kubectl: str, tmp_path: Path) -> Kubectl:
    return runner(cluster, kubectl, tmp_path)


def _review(path: str, request: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"uid": request["uid"], "allowed": True}
    if path == "/deny" and "forbidden" in (request["object"].get("data") or {}):
        response |= {
            "allowed": False,
            "status": {"code": 403, "reason": "Forbidden", "message": "no such key here"},
        }
    if path == "/warn":
        response["warnings"] = ["this is deprecated"]
    if path == "/mutate":
        operations = [{"op": "add", "path": "/data/mutated", "value": "yes"}]
        patch = base64.b64encode(json.dumps(operations).encode()).decode()
        response |= {"patchType": "JSONPatch", "patch": patch}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/slow":
            time.sleep(_SLOW_S)
        code, body = 200, json.dumps(_review(path, json.loads(raw)["request"])).encode()
        if path == "/broken":
            code, body = 500, b"out of order"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests say what they expect."""


class Door:
    """A webhook server: its address, and the bundle that it is known by."""

    def __init__(self, port: int, bundle: str) -> None:
        self.port = port
        self.bundle = bundle

    def hook(self, path: str, namespace: str, **more: Any) -> dict[str, Any]:
        return {
            "name": f"{path}.example.com",
            "clientConfig": {"url": f"https://127.0.0.1:{self.port}/{path}", "caBundle": self.bundle},
            "rules": [
                {
                    "operations": ["CREATE", "UPDATE"],
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "resources": ["configmaps"],
                }
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **more,
        }


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    authority = Authority(tmp_path, World())
    pair = authority.server("webhook", ["127.0.0.1"], tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.certificate, pair.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Door(server.server_address[1], base64.b64encode(authority.pem.encode()).decode())
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def configured(run: Kubectl, kind: str, name: str, *hooks: dict[str, Any]) -> Iterator[None]:
    """`kind` is Mutating or Validating."""
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(hooks),
    }
    run("create", "-f", "-", stdin=json.dumps(body))
    try:
        yield
    finally:
        run("delete", f"{kind.lower()}webhookconfiguration", name)


def test_webhooks_refuse_change_and_warn(run: Kubectl, door: Door) -> None:
    run("create", "namespace", "hooked")
    create = ("create", "configmap", "-n", "hooked")
    with (
        configured(run, "Mutating", "hooked", door.hook("mutate", "hooked")),
        configured(run, "Validating", "hooked", door.hook("deny", "hooked"), door.hook("warn", "hooked")),
    ):
        said = run(*create, "made", "--from-literal=a=b")
        assert "Warning: this is deprecated" in said and "configmap/made created" in said
        assert get(run, "configmap", "made", "-n", "hooked")["data"] == {"a": "b", "mutated": "yes"}
        said = run(*create, "bad", "--from-literal=forbidden=x", code=1)
        assert (
            'error: failed to create configmap: admission webhook "deny.example.com" denied the request: no such key '
            "here" in said
        )
        patch = '{"data": {"forbidden": "x"}}'
        said = run("patch", "configmap", "made", "-n", "hooked", "-p", patch, code=1)
        assert (
            'Error from server (Forbidden): admission webhook "deny.example.com" denied the request' in said
        )
        said = run(*create, "dry", "--dry-run=server", "-o", "yaml", "--from-literal=a=b")
        assert 'mutated: "yes"' in said
        run("get", "configmap", "dry", "-n", "hooked", code=1)
    assert "mutated" not in run(*create, "after", "--from-literal=a=b", "-o", "json")
    run("delete", "namespace", "hooked", "--wait=false")


def test_webhooks_that_fail(run: Kubectl, door: Door) -> None:
    run("create", "namespace", "failing")
    create = ("create", "configmap", "-n", "failing", "--from-literal=a=b")

    def refused(hook: dict[str, Any]) -> str:
        with configured(run, "Validating", "failing", hook):
            said = run(*create, "closed", code=1)
        with configured(run, "Validating", "failing", {**hook, "failurePolicy": "Ignore"}):
            run(*create, "open")
        run("delete", "configmap", "open", "-n", "failing")
        return said

    failed = 'Internal error occurred: failed calling webhook "{}.example.com": failed to call webhook: {}'
    url = f"https://127.0.0.1:{door.port}"
    slow = failed.format("slow", f'Post "{url}/slow?timeout=1s": context deadline exceeded')
    assert slow in refused(door.hook("slow", "failing", timeoutSeconds=1))
    broken = failed.format(
        "broken", 'an error on the server ("out of order") has prevented the request from succeeding'
    )
    assert broken in refused(door.hook("broken", "failing"))
    unknown = door.hook("warn", "failing")
    del unknown["clientConfig"]["caBundle"]
    assert "tls: failed to verify certificate: x509: certificate signed by unknown authority" in refused(
        unknown
    )
    nobody = {**door.hook("x", "failing"), "clientConfig": {"url": "https://127.0.0.1:1/x"}}
    assert "dial tcp 127.0.0.1:1: connect: connection refused" in refused(nobody)
    service = {"namespace": "failing", "name": "hook", "path": "/x"}
    unserved = {**door.hook("x", "failing"), "clientConfig": {"service": service}}
    assert failed.format(
        "x", 'Post "https://hook.failing.svc:443/x?timeout=10s": service "hook" not found'
    ) in refused(unserved)
    effects = door.hook("warn", "failing", sideEffects="Some")
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "failing"},
        "webhooks": [effects],
    }
    said = run("create", "-f", "-", stdin=json.dumps(body), code=1)
    assert 'webhooks[0].sideEffects: Unsupported value: "Some"' in said
    run("delete", "namespace", "failing", "--wait=false")


_POLICIES = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: replicas.example.com}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: governed}}
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments, deployments/scale]}
  validations:
  - expression: object.spec.replicas <= int(params.data.max)
    messageExpression: "'at most ' + params.data.max + ' replicas, not ' + string(object.spec.replicas)"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: replicas}
spec:
  policyName: replicas.example.com
  paramRef: {name: limits, parameterNotFoundAction: Deny}
  validationActions: [Deny]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: team.example.com}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: governed}}
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: "Object{metadata: Object.metadata{labels: {'team': namespaceObject.metadata.labels['team']}}}"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: team}
spec: {policyName: team.example.com}
"""


def test_policies_deny_and_change(run: Kubectl) -> None:
    run("create", "namespace", "governed")
    run("label", "namespace", "governed", "team=blue")
    run("create", "configmap", "limits", "-n", "governed", "--from-literal=max=3")
    run("apply", "-f", "-", stdin=_POLICIES)
    try:
        create = ("create", "deployment", "-n", "governed", "--image=nginx")
        said = run(*create, "large", "--replicas=5", code=1)
        assert (
            "deployments.apps \"large\" is forbidden: ValidatingAdmissionPolicy 'replicas.example.com' with binding "
            "'replicas' denied request: at most 3 replicas, not 5" in said
        )
        run(*create, "small", "--replicas=2")
        run("rollout", "status", "deployment/small", "-n", "governed", "--timeout=30s")
        pods = get(run, "pods", "-n", "governed")["items"]
        assert [pod["metadata"]["labels"]["team"] for pod in pods] == ["blue", "blue"]
        said = run("scale", "deployment/small", "-n", "governed", "--replicas=4", code=1)
        assert "at most 3 replicas, not 4" in said
        assert "replicas.example.com" in run("get", "validatingadmissionpolicies")
    finally:
        run("delete", "-f", "-", stdin=_POLICIES)
        run("delete", "namespace", "governed", "--wait=false")


_HANDLERS = """
import kopf

@kopf.on.startup()
def serve(settings, **_):
    settings.admission.server = kopf.WebhookServer(
        addr="127.0.0.1", host="127.0.0.1", cafile="ca.pem", certfile="server.pem", pkeyfile="server.key"
    )
    settings.admission.managed = "gauges.example.com"

@kopf.on.validate("demo.example.com", "v1", "gauges")
def small(spec, warnings, **_):
    if spec.get("replicas", 0) > 5:
        raise kopf.AdmissionError("too many", code=429)
    warnings.append("seen by an operator")

@kopf.on.mutate("demo.example.com", "v1", "gauges", operation="CREATE")
def marked(patch, **_):
    patch.metadata.labels["marked"] = "yes"
"""


def test_an_operator_has_admission_handlers(cluster: Running, run: Kubectl, tmp_path: Path) -> None:
    """kopf makes the configurations itself, and its server is known by our authority."""
    establish(run, "gauges", "Gauge")
    authority = Authority(tmp_path, World())
    pair = authority.server("kopf", ["127.0.0.1"], tmp_path)
    (tmp_path / "ca.pem").write_text(authority.pem)
    (tmp_path / "server.pem").write_bytes(Path(pair.certificate).read_bytes())
    (tmp_path / "server.key").write_bytes(Path(pair.key).read_bytes())
    with operator(cluster, tmp_path, _HANDLERS):
        for kind in ("mutating", "validating"):
            eventually(lambda kind=kind: _has_hooks(run, kind))  # type: ignore[misc]
        said = run("create", "-f", "-", stdin=resource("Gauge", "g", spec={"replicas": 2}))
        assert "Warning: seen by an operator" in said
        assert get(run, "gauge", "g")["metadata"]["labels"] == {"marked": "yes"}
        said = run("create", "-f", "-", stdin=resource("Gauge", "h", spec={"replicas": 9}), code=1)
        assert "denied the request: too many" in said
    for kind in ("mutating", "validating"):
        run("delete", f"{kind}webhookconfiguration", "gauges.example.com", "--ignore-not-found")


def _has_hooks(run: Kubectl, kind: str) -> bool:
    found = get(run, f"{kind}webhookconfigurations")["items"]
    return any(c["metadata"]["name"] == "gauges.example.com" and c.get("webhooks") for c in found)
