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


def test_a_write_that_only_changes_the_order_of_keys_is_none(api: Api) -> None:
    body = {"metadata": {"name": "ordered", "labels": {"a": "1", "b": "2"}}, "data": {"c": "1", "d": "2"}}
    made = api("POST", CONFIG_MAPS, body)
    body = {"data": {"d": "2", "c": "1"}, "metadata": {"labels": {"b": "2", "a": "1"}, "name": "ordered"}}
    again = api("PUT", f"{CONFIG_MAPS}/ordered", body)
    assert again.body["metadata"]["resourceVersion"] == made.body["metadata"]["resourceVersion"]


def test_an_empty_list_reads_back_as_null(api: Api) -> None:
    path = "/apis/storage.k8s.io/v1/csinodes"
    made = api("POST", path, {"metadata": {"name": "empty"}, "spec": {"drivers": []}})
    assert made.body["spec"] == {"drivers": None}
    assert made.body["metadata"]["managedFields"][0]["fieldsV1"] == {"f:spec": {"f:drivers": {}}}


def test_errors_name_the_group_that_was_asked(api: Api) -> None:
    answer = api("GET", "/apis/events.k8s.io/v1/namespaces/default/events/none")
    assert answer.message == 'events.events.k8s.io "none" not found'


def test_a_service_does_not_become_headless_by_its_first_address(api: Api) -> None:
    path = "/api/v1/namespaces/default/services"
    spec = {"ports": [{"port": 80}]}
    api("POST", path, {"metadata": {"name": "fixed"}, "spec": spec})
    answer = api(
        "PUT", f"{path}/fixed", {"metadata": {"name": "fixed"}, "spec": spec | {"clusterIP": "None"}}
    )
    assert answer.causes == [("spec.clusterIPs[0]", 'Invalid value: ["None"]: may not change once set')]


def test_a_patch_that_does_not_fit_shows_what_it_touched_in_order(api: Api) -> None:
    api("POST", CONFIG_MAPS, config_map("shown", data={"z": "1"}))
    answer = api.json_patch(
        f"{CONFIG_MAPS}/shown", {"op": "add", "path": "/data/a", "value": {"c": 1, "b": 2}}
    )
    text = answer.causes[0][1]
    start = r'Invalid value: "{\"apiVersion\":\"v1\",\"data\":{\"a\":{\"c\":1,\"b\":2},\"z\":\"1\"},'
    start += r"\"kind\":\"ConfigMap\","
    assert text.startswith(start + r"\"metadata\":{\"name\":\"shown\",\"namespace\":\"default\",\"uid\":")


def test_a_patch_to_another_kind_cannot_be_converted(api: Api) -> None:
    api("POST", CONFIG_MAPS, config_map("kind"))
    answer = api.json_patch(f"{CONFIG_MAPS}/kind", {"op": "replace", "path": "/kind", "value": "Secret"})
    assert answer.message.endswith(": converting (v1.Secret) to (core.ConfigMap): unknown conversion")


def test_the_aggregator_knows_only_its_own_kinds(api: Api) -> None:
    answer = api("POST", "/apis/apiregistration.k8s.io/v1/apiservices", config_map("x"))
    assert answer.message.endswith(
        'no kind "ConfigMap" is registered for version "v1" in scheme '
        '"k8s.io/kube-aggregator/pkg/apiserver/scheme/scheme.go:28"'
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"apiVersion: v1\nkind: [\n", "yaml: line 2: did not find expected node content"),
        (b"a: [b\n", "yaml: line 1: did not find expected ',' or ']'"),
        (b"a: b: c", "yaml: mapping values are not allowed in this context"),
        (b"x: 1\na: b: c", "yaml: line 2: mapping values are not allowed in this context"),
    ],
)
def test_lines_of_yaml_errors(api: Api, text: bytes, why: str) -> None:
    answer = api("POST", CONFIG_MAPS, text, content_type="application/yaml")
    assert f": {why} (" in answer.message
    answer = api(
        "PATCH", f"{CONFIG_MAPS}/y?fieldManager=m", text, content_type="application/apply-patch+yaml"
    )
    assert answer.message == f"error decoding YAML: error converting YAML to JSON: {why}"


def test_who_owns_what_a_start_makes(api: Api) -> None:
    schema = api("GET", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/catch-all").body
    entries = [
        (e["manager"], e["operation"], e.get("subresource")) for e in schema["metadata"]["managedFields"]
    ]
    assert sorted(entries, key=str) == [
        ("api-priority-and-fairness-config-consumer-v1", "Apply", "status"),
        ("api-priority-and-fairness-config-producer-v1", "Update", None),
    ]
    namespace = api("GET", "/api/v1/namespaces/default").body
    assert namespace["spec"] == {"finalizers": ["kubernetes"]}
    assert "f:spec" not in namespace["metadata"]["managedFields"][0]["fieldsV1"]


@pytest.mark.parametrize(
    ("path", "known_only"),
    [(CONFIG_MAPS, True), ("/apis/coordination.k8s.io/v1/namespaces/default/leases", False)],
)
def test_which_kinds_know_the_finalizers_without_a_prefix(api: Api, path: str, known_only: bool) -> None:
    answer = api("POST", f"{path}?dryRun=All", {"metadata": {"name": "final", "finalizers": ["odd"]}})
    if known_only:
        assert [field for field, _ in answer.causes] == ["metadata.finalizers[0]"]
    else:
        assert answer.code == 201


@pytest.mark.parametrize(
    ("prefix", "fits"),
    [("-", False), ("a-", True), ("a--", True), ("b.-", True), ("A-", True), ("AA-", False)],
)
def test_what_a_generated_name_may_begin_with(api: Api, prefix: str, fits: bool) -> None:
    answer = api("POST", f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"generateName": prefix}})
    assert (
        "metadata.generateName" in [c["field"] for c in answer.body.get("details", {}).get("causes", [])]
    ) != fits


def test_a_component_that_is_none(api: Api) -> None:
    answer = api("GET", "/api/v1/componentstatuses/none")
    assert answer.message == 'componentstatus "none" not found'


def test_a_status_write_that_keeps_metadata(api: Api) -> None:
    path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt"
    before = api("GET", path).body["metadata"]
    after = api.merge(f"{path}/status", {"metadata": {"labels": {"a": "b"}, "annotations": None}})
    assert (after.code, after.body["metadata"].get("labels")) == (200, before.get("labels"))
    assert after.body["metadata"]["annotations"] == before["annotations"]


def test_a_daemon_sets_status_keeps_its_template_generation(api: Api) -> None:
    path = "/apis/apps/v1/namespaces/default/daemonsets"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {
        "metadata": {"name": "counted"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    assert api("POST", path, body).code == 201
    after = api("PUT", f"{path}/counted/status", body)
    assert after.body["metadata"]["annotations"] == {"deprecated.daemonset.template.generation": "1"}


def test_there_are_no_namespaces_in_a_namespace(api: Api) -> None:
    answer = api("POST", "/api/v1/namespaces/default/namespaces", {"metadata": {"name": "inner"}})
    assert (answer.code, answer.message) == (404, "the server could not find the requested resource")
    assert api("GET", "/api/v1/namespaces/default").code == 200
    assert api("GET", "/api/v1/namespaces").code == 200
