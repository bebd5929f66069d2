"""Custom resources through a real kubectl: a definition, what it serves, and what is left when it goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running, start, stop
from tests.scenarios.processes import eventually
from tests.scenarios.test_main_job import Kubectl, get, runner

_SCHEMA = {
    "type": "object",
    "description": "A widget.",
    "properties": {
        "spec": {
            "type": "object",
            "description": "What is wanted.",
            "properties": {
                "replicas": {"type": "integer", "default": 1, "minimum": 0, "description": "How many."},
                "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            },
            "x-kubernetes-validations": [
                {"rule": "self.color == oldSelf.color", "message": "the color stays"},
            ],
        },
        "status": {
            "type": "object",
            "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}},
        },
    },
}


def definition(plural: str, kind: str) -> str:
    version: dict[str, Any] = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _SCHEMA},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
            {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
        ],
        "selectableFields": [{"jsonPath": ".spec.color"}],
    }
    return json.dumps(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.demo.example.com"},
            "spec": {
                "group": "demo.example.com",
                "scope": "Namespaced",
                "names": {"plural": plural, "kind": kind, "categories": ["all"]},
                "versions": [version],
            },
        }
    )


def resource(kind: str, name: str, namespace: str = "default", **parts: Any) -> str:
    owners = parts.pop("owners", None)
    meta: dict[str, Any] = {"name": name, "namespace": namespace}
    if owners:
        meta["ownerReferences"] = owners
    return json.dumps({"apiVersion": "demo.example.com/v1", "kind": kind, "metadata": meta, **parts})


def establish(run: Kubectl, plural: str, kind: str) -> None:
    run("apply", "-f", "-", stdin=definition(plural, kind))
    run("wait", "--for=condition=established", f"crd/{plural}.demo.example.com", "--timeout=10s")


@pytest.fixture
def run(cluster: Running, kubectl: str, tmp_path: Path) -> Kubectl:
    """A kubectl without anything cached."""
    return runner(cluster, kubectl, tmp_path)


def test_a_definition_serves_its_kind_and_takes_it_away(run: Kubectl) -> None:
    establish(run, "widgets", "Widget")
    assert "A widget." in run("explain", "widgets")
    assert "How many." in run("explain", "widgets.spec.replicas")
    assert "widget.demo.example.com/one created" in run(
        "apply", "-f", "-", stdin=resource("Widget", "one", spec={})
    )
    table = run("get", "widgets").splitlines()
    assert (table[0].split(), table[1].split()) == (["NAME", "REPLICAS", "PHASE"], ["one", "1"])
    assert "red" in run("get", "widgets", "-o", "wide")
    assert "one" in run("get", "widgets", "--field-selector", "spec.color=red")
    assert "No resources found" in run("get", "widgets", "--field-selector", "spec.color=blue")
    assert "widget.demo.example.com/one" in run("get", "all")

    assert "scaled" in run("scale", "widget/one", "--replicas=3")
    run("patch", "widget", "one", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Up"}}')
    assert run("get", "widgets").splitlines()[1].split() == ["one", "3", "Up"]
    widget = get(run, "widget", "one")
    assert widget["metadata"]["generation"] == 2

    refused = run("patch", "widget", "one", "--type=merge", "-p", '{"spec":{"color":"blue"}}', code=1)
    assert "spec: Invalid value: the color stays" in refused
    refused = run("patch", "widget", "one", "--type=merge", "-p", '{"spec":{"replicas":"x"}}', code=1)
    assert 'spec.replicas in body must be of type integer: "string"' in refused

    run("delete", "crd", "widgets.demo.example.com", "--timeout=20s")
    eventually(lambda: "the server could not find" in _failing_list(run))
    establish(run, "widgets", "Widget")
    assert "No resources found" in run("get", "widgets")
    run("delete", "crd", "widgets.demo.example.com", "--timeout=20s")


def _failing_list(run: Kubectl) -> str:
    path = "/apis/demo.example.com/v1/widgets"
    return run("get", "--raw", path, code=1)


def test_owners_and_namespaces_take_custom_resources_with_them(run: Kubectl) -> None:
    establish(run, "gadgets", "Gadget")
    run("create", "namespace", "doomed")
    run("create", "-f", "-", stdin=resource("Gadget", "inside", "doomed", spec={}))
    run("create", "-f", "-", stdin=resource("Gadget", "owner", spec={}))
    uid = get(run, "gadget", "owner")["metadata"]["uid"]
    owner = {"apiVersion": "demo.example.com/v1", "kind": "Gadget", "name": "owner", "uid": uid}
    run("create", "configmap", "owned")
    run("patch", "configmap", "owned", "-p", json.dumps({"metadata": {"ownerReferences": [owner]}}))
    run("create", "-f", "-", stdin=resource("Gadget", "owned", spec={}, owners=[owner]))

    run("delete", "gadget", "owner")
    run("wait", "--for=delete", "configmap/owned", "gadget/owned", "--timeout=30s")
    run("delete", "namespace", "doomed", "--timeout=30s")
    assert "No resources found" in run("get", "gadgets", "--all-namespaces")


def test_custom_resources_survive_a_restart(tmp_path: Path, kubectl: str) -> None:
    data = ("--data-dir", str(tmp_path / "kept"))
    first = start(tmp_path, *data)
    run = runner(first, kubectl, tmp_path)
    establish(run, "widgets", "Widget")
    run("create", "-f", "-", stdin=resource("Widget", "kept", spec={"replicas": 2}))
    assert stop(first) == 0
    again = start(tmp_path, *data)
    try:
        run = runner(again, kubectl, tmp_path)
        assert get(run, "widget", "kept")["spec"] == {"replicas": 2, "color": "red"}
        assert "deleted" in run("delete", "widget", "kept")
    finally:
        assert stop(again) == 0
