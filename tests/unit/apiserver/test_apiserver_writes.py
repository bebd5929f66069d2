"""What a client notices of writes: option errors, precondition texts, metadata's rules."""

from __future__ import annotations

from typing import Any

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


def test_of_an_accounts_secrets_only_the_names_stay(api: Api) -> None:
    secrets = [{"name": "a", "kind": "Secret", "namespace": "other"}, {"kind": "Secret"}]
    annotations = {"kubernetes.io/enforce-mountable-secrets": "true"}
    body = {"metadata": {"name": "cleaned", "annotations": annotations}, "secrets": secrets}
    answer = api("POST", "/api/v1/namespaces/default/serviceaccounts", body)
    assert answer.body["secrets"] == [{"name": "a"}, {}]
    assert answer.warnings == [
        "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate "
        "namespaces to isolate access to mounted secrets"
    ]
    again = api("PUT", "/api/v1/namespaces/default/serviceaccounts/cleaned", body)
    assert again.warnings == []


def test_a_tls_secret_without_a_certificate_is_told_of(api: Api) -> None:
    body = {
        "metadata": {"name": "tls"},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": "eA==", "tls.key": ""},
    }
    answer = api("POST", "/api/v1/namespaces/default/secrets", body)
    assert (answer.code, answer.warnings) == (201, ["tls: failed to find any PEM data in certificate input"])


DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


@pytest.mark.parametrize(
    ("metadata", "code", "text"),
    [
        (
            ["x"],
            500,
            "failed to create typed patch object (/; /v1, Kind=ConfigMap): .metadata: expected map, got &{[x]}",
        ),
        (
            {"name": 5},
            500,
            "failed to create typed patch object (/; /v1, Kind=ConfigMap): .metadata.name: expected string, "
            "got &value.valueUnstructured{Value:5}",
        ),
        (None, 400, "the name of the object (odd based on URL) was undeterminable: name must be provided"),
        ({"name": "even"}, 400, "the name of the object (even) does not match the name on the URL (odd)"),
        (
            {"name": "odd", "uid": "u"},
            409,
            'Operation cannot be fulfilled on configmaps "odd": uid mismatch: the provided object specified '
            "uid u, and no existing object was found",
        ),
        (
            {"name": "odd", "creationTimestamp": "d"},
            500,
            "failed to convert new object (/odd; /v1, Kind=ConfigMap) to proper version: unable to convert "
            'unstructured object to /v1, Kind=ConfigMap: parsing time "d" as "2006-01-02T15:04:05Z07:00": '
            'cannot parse "d" as "2006"',
        ),
    ],
)
def test_odd_metadata_applied(api: Api, metadata: Any, code: int, text: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    answer = api.apply(f"{CONFIG_MAPS}/odd?fieldManager=m", body)
    assert (answer.code, answer.message) == (code, text)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"replicas": 1.5}, "cannot convert float64 to int32"),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": True}}},
            "json: cannot unmarshal bool into Go value of type int32",
        ),
    ],
)
def test_an_apply_that_fits_the_schema_but_not_the_type(api: Api, spec: Any, why: str) -> None:
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    answer = api.apply(f"{DEPLOYMENTS}/d?fieldManager=m", body)
    assert (answer.code, answer.message) == (
        500,
        "failed to convert new object (/d; apps/v1, Kind=Deployment) to proper version: unable to convert "
        f"unstructured object to apps/v1, Kind=Deployment: {why}",
    )


def test_metadata_that_is_no_object(api: Api) -> None:
    answer = api("POST", CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": "x"})
    assert (answer.code, answer.message) == (
        400,
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal string into Go '
        "struct field ConfigMap.metadata of type v1.ObjectMeta",
    )


def test_ephemeral_containers_have_no_lifecycle_however_empty(api: Api) -> None:
    path = "/api/v1/namespaces/default/pods"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "debugged"}}
    api("POST", "/api/v1/namespaces/default/serviceaccounts", account)
    spec = {"serviceAccountName": "debugged", "containers": [{"name": "c", "image": "i"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ephemeral"}, "spec": spec}
    assert api("POST", path, pod).code == 201
    extra = {"name": "e", "image": "i", "lifecycle": {}, "resources": {}}
    patch = {"spec": {"ephemeralContainers": [extra]}}
    answer = api.merge(f"{path}/ephemeral/ephemeralcontainers", patch)
    assert answer.causes == [
        ("spec.ephemeralContainers[0].lifecycle", "Forbidden: cannot be set for an Ephemeral Container")
    ]


def test_a_gated_pod_says_since_when(api: Api) -> None:
    """KEP-3521: the condition is the API server's; no scheduler looks at the pod."""
    api("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "gated"}})
    spec = {
        "containers": [{"name": "c", "image": "x"}],
        "schedulingGates": [{"name": "example.com/g"}],
        "serviceAccountName": "gated",
    }
    made = api("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "gated"}, "spec": spec})
    (condition,) = made.body["status"]["conditions"]
    assert condition["reason"] == "SchedulingGated"
    assert condition["lastTransitionTime"] == made.body["metadata"]["creationTimestamp"]
