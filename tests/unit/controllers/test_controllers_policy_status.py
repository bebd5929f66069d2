"""Type checks of admission policies
(https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import CONFIG_MAPS, VALIDATING_ADMISSION_POLICIES, Resource
from pilothouse.api.types import Obj

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)


def policy(
    name: str, *expressions: str, group: str = "apps", resource: str = "deployments", **more: Any
) -> Obj:
    rule = {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [resource],
    }
    validations: list[Obj] = [{"expression": e} for e in expressions]
    return {
        "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": validations, **more},
    }


async def checked(lab: Any, made: Obj) -> list[Obj]:
    await lab.create(VALIDATING_ADMISSION_POLICIES, made)
    await lab.wait(3)
    status = (await lab.get(VALIDATING_ADMISSION_POLICIES, made["metadata"]["name"]))["status"]
    assert status["observedGeneration"] == 1
    found: list[Obj] = status["typeChecking"].get("expressionWarnings", [])
    return found


def test_an_expression_that_does_not_fit_its_kind_is_warned_of(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        assert await checked(lab, policy("good", "object.spec.replicas <= 5")) == []
        [found] = await checked(lab, policy("typo", "object.spec.replicas <= 5", "object.spec.replica > 1"))
        assert found == {
            "fieldRef": "spec.validations[1].expression",
            "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'\n"
            " | object.spec.replica > 1\n"
            " | ...........^\n",
        }
        [found] = await checked(lab, policy("mixed", "object.spec.replicas > '1'"))
        assert "found no matching overload for '_>_' applied to '(int, string)'" in found["warning"]
        pods = policy("pods", "object.spec.foo == 1", group="", resource="pods")
        [found] = await checked(lab, pods)
        assert found["warning"].startswith("/v1, Kind=Pod: ERROR: ")

    simulate(scenario)


def test_variables_and_parameters_have_types(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        named = policy(
            "named",
            "variables.count > 1 && params.data['x'] == '1'",
            "variables.count == 'one'",
            "params.dota == 1",
            variables=[{"name": "count", "expression": "object.spec.replicas"}],
            paramKind={"apiVersion": CONFIG_MAPS.group_version, "kind": CONFIG_MAPS.kind},
        )
        found = await checked(lab, named)
        assert [w["fieldRef"] for w in found] == [
            "spec.validations[1].expression",
            "spec.validations[2].expression",
        ]
        assert "undefined field 'dota'" in found[1]["warning"]

    simulate(scenario)


def test_custom_resources_have_types_too(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        schema = {
            "type": "object",
            "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
        }
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        names = {"plural": "rings", "singular": "ring", "kind": "Ring", "listKind": "RingList"}
        spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
        await lab.create(CRDS, {"metadata": {"name": "rings.example.com"}, "spec": spec})
        await lab.wait(3)
        made = policy(
            "rings", "object.spec.size < 3", "object.spec.width < 3", group="example.com", resource="rings"
        )
        [found] = await checked(lab, made)
        assert found["warning"].startswith(
            "example.com/v1, Kind=Ring: ERROR: <input>:1:12: undefined field 'width'"
        )

    simulate(scenario)
