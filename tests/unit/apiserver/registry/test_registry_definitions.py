"""What the server makes of a definition's status and generation
(k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/strategy.go)."""

from __future__ import annotations

from typing import Any

from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.registry.strategies.apiextensions import STRATEGIES
from pilothouse.apiserver.registry.strategy import Context
from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.world import World

Obj = dict[str, Any]

STRATEGY = STRATEGIES["apiextensions.k8s.io", "CustomResourceDefinition"]


class Nothing:
    """No other objects."""

    def list(self, *_: Any) -> list[Obj]:
        return []


def context() -> Context:
    lister: Lister = Nothing()  # type: ignore[assignment]
    return Context(World(), lister, UserInfo("someone"))


def definition(*stored: str, storage: str = "v1") -> Obj:
    versions = [{"name": name, "storage": name == storage} for name in ("v1", "v2")]
    return {
        "metadata": {"generation": 1},
        "spec": {"versions": versions},
        "status": {"conditions": None, "acceptedNames": {}, "storedVersions": list(stored)},
    }


def test_a_new_definition_has_stored_its_storage_version_and_nothing_else() -> None:
    obj = definition("v2")
    obj["status"]["conditions"] = [{"type": "Established", "status": "True"}]
    STRATEGY.prepare_for_create(context(), obj)
    assert obj["status"] == {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": ["v1"],
    }


def test_a_new_storage_version_is_added_to_those_that_were_stored() -> None:
    old, obj = definition("v1"), definition("v1", storage="v2")
    obj["status"] = old["status"]
    STRATEGY.prepare_for_update(context(), obj, old)
    assert obj["status"]["storedVersions"] == ["v1", "v2"]
    assert old["status"]["storedVersions"] == ["v1"], "what is stored is shared"


def test_the_generation_counts_changes_of_the_spec() -> None:
    assert STRATEGY.generation
    assert not STRATEGY.changes_generation(definition("v1"), definition("v2"))
    assert STRATEGY.changes_generation(definition(storage="v2"), definition())


def test_an_update_names_the_version_that_it_replaces() -> None:
    assert not STRATEGY.allow_unconditional_update
