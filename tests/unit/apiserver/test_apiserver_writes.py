"""What a client notices of writes: option errors, precondition texts, metadata's rules."""

from __future__ import annotations

import pytest

from tests.unit.apiserver.conftest import Api

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str, **more: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


@pytest.mark.parametrize("query", ["", "?fieldManager="])
def test_an_apply_needs_a_field_manager(api: Api, query: str) -> None:
    answer = api.apply(f"{CONFIG_MAPS}/applied{query}", config_map("applied"))
    assert answer.code == 422
    assert answer.message == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )


def test_characters_that_a_field_manager_may_not_have(api: Api) -> None:
    api("POST", CONFIG_MAPS, config_map("managed"))
    answer = api.apply(f"{CONFIG_MAPS}/managed?fieldManager=é\x01", config_map("managed"))
    assert answer.causes == [
        ("fieldManager", 'Invalid value: "é\\x01": invalid character U+0001 (at position 2)')
    ]


def test_a_precondition_names_the_kind_with_its_group(api: Api) -> None:
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"
    api("POST", roles, {"metadata": {"name": "guarded"}})
    answer = api("DELETE", f"{roles}/guarded", {"preconditions": {"uid": "other"}})
    assert answer.code == 409
    assert answer.message.startswith(
        'Operation cannot be fulfilled on Role.rbac.authorization.k8s.io "guarded": the UID in the precondition'
    )
    assert answer.body["details"]["group"] == "rbac.authorization.k8s.io"


def test_a_body_of_another_version_is_named_by_its_own(api: Api) -> None:
    answer = api("POST", CONFIG_MAPS, config_map("versioned") | {"apiVersion": "other.example.com/v7"})
    assert answer.message == (
        'ConfigMap in version "v7" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for '
        'version "other.example.com/v7" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    )


@pytest.mark.parametrize(("path", "body", "times"), [
    (CONFIG_MAPS, config_map("labelled"), 4),
    ("/api/v1/namespaces/default/limitranges", {"metadata": {"name": "labelled"}, "spec": {"limits": []}}, 3),
    ("/apis/apps/v1/namespaces/default/controllerrevisions", {"metadata": {"name": "l"}, "data": {"a": 1}}, 4),
])  # fmt: skip
def test_metadata_is_checked_for_all_kinds_and_by_each(
    api: Api, path: str, body: dict[str, object], times: int
) -> None:
    made = api("POST", path, body)
    assert made.code == 201
    answer = api.merge(f"{path}/{made.body['metadata']['name']}", {"metadata": {"labels": {"a b": "x"}}})
    assert [field for field, _ in answer.causes] == ["metadata.labels"] * times


def test_a_name_that_must_be_an_address_is_not_generated(api: Api) -> None:
    body = {"metadata": {"generateName": "gen-"}, "spec": {"parentRef": {"resource": "r", "name": "n"}}}
    answer = api("POST", "/apis/networking.k8s.io/v1/ipaddresses", body)
    assert answer.body["details"]["name"] == "gen-"
