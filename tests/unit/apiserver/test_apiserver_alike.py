"""Pods of one template: what is kept of the first must not show in the next (endpoints/drafts.py,
api/validation/pods/sound.py)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.api.validation.pods import sound
from pilothouse.apiserver.request import Request
from tests.served import ADMIN, Api, api

PODS = "/api/v1/namespaces/default/pods"
_OWN = ("name", "uid", "creationTimestamp", "resourceVersion")


@pytest.fixture
def server() -> Iterator[Api]:
    with api(disable_admission=("ServiceAccount",)) as made:
        yield made


@pytest.fixture
def with_accounts() -> Iterator[Api]:
    with api() as made:
        account = {"metadata": {"name": "default"}}
        made.ask("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        yield made


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "nginx", "resources": {"limits": {"cpu": "1"}}}
    return {
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [container], **spec},
    }


def shared(obj: dict[str, Any]) -> dict[str, Any]:
    """What two pods of one template have in common."""
    made = copy.deepcopy(obj)
    for key in _OWN:
        made["metadata"].pop(key, None)
    for entry in made["metadata"]["managedFields"]:
        entry.pop("time")
    return made


def test_the_second_is_as_the_first(server: Api) -> None:
    first, second = (server.ask("POST", PODS, pod(name)).body for name in ("a", "b"))
    assert (first["metadata"]["name"], second["metadata"]["name"]) == ("a", "b")
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert shared(first) == shared(second)
    assert list(first["spec"]) == list(second["spec"])


def test_names_are_generated_for_each(server: Api) -> None:
    body = pod("") | {"metadata": {"generateName": "web-"}}
    names = {server.ask("POST", PODS, body).body["metadata"]["name"] for _ in range(3)}
    assert len(names) == 3


def test_a_change_of_one_is_no_change_of_another(server: Api) -> None:
    server.ask("POST", PODS, pod("a"))
    second = server.ask("POST", PODS, pod("b")).body
    patch = {
        "metadata": {"labels": {"app": "other"}},
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    }
    strategic = "application/strategic-merge-patch+json"
    assert server.ask("PATCH", f"{PODS}/a?fieldManager=m", patch, content_type=strategic).status == 200
    assert server.ask("GET", f"{PODS}/b").body == second
    assert shared(server.ask("POST", PODS, pod("c")).body) == shared(second)


def test_each_belongs_to_who_made_it(server: Api) -> None:
    made = [server.ask("POST", f"{PODS}?fieldManager={m}", pod(m)).body for m in ("one", "two")]
    assert [m["metadata"]["managedFields"][0]["manager"] for m in made] == ["one", "two"]


def test_warnings_are_repeated(server: Api) -> None:
    for name in ("a", "b"):
        answer = server.ask("POST", f"{PODS}?fieldValidation=Strict", pod(name, unknown=1))
        assert 'unknown field "spec.unknown"' in answer.message


def test_what_was_ignored_once_is_refused_when_asked_to(server: Api) -> None:
    assert server.ask("POST", f"{PODS}?fieldValidation=Ignore", pod("a", unknown=1)).status == 201
    answer = server.ask("POST", f"{PODS}?fieldValidation=Strict", pod("b", unknown=1))
    assert 'unknown field "spec.unknown"' in answer.message


def test_repeated_fields_are_refused_after_the_same_without(server: Api) -> None:
    server.ask("POST", PODS, pod("a"))
    text = json.dumps(pod("b")).replace('"image": "nginx"', '"image": "nginx", "image": "nginx"')
    answer = server.ask("POST", f"{PODS}?fieldValidation=Strict", text.encode())
    assert 'duplicate field "spec.containers[0].image"' in answer.message


def test_another_namespace_is_no_other_objects(server: Api) -> None:
    server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
    body = pod("a")
    assert server.ask("POST", PODS, body).body["metadata"]["namespace"] == "default"
    elsewhere = server.ask("POST", "/api/v1/namespaces/other/pods", body)
    assert elsewhere.body["metadata"]["namespace"] == "other"
    body["metadata"]["namespace"] = "default"
    assert server.ask("POST", PODS, body | {"metadata": {**body["metadata"], "name": "b"}}).status == 201
    refused = server.ask("POST", "/api/v1/namespaces/other/pods", body)
    assert refused.status == 400


@pytest.mark.parametrize("name", [None, "", 7, "Not A Name"])
def test_names_that_are_none_are_refused_as_ever(server: Api, name: object) -> None:
    body = pod("")
    body["metadata"]["name"] = name
    before = server.ask("POST", PODS, body)
    assert server.ask("POST", PODS, pod("good")).status == 201
    after = server.ask("POST", PODS, body)
    assert (after.status, after.message) == (before.status, before.message)
    assert after.status >= 400


def test_a_number_beyond_all_bounds_is_no_null(server: Api) -> None:
    body = json.dumps(pod("a", priority=None)).encode()
    assert server.ask("POST", PODS, body).status == 201
    huge = body.replace(b'"priority": null', b'"priority": 1e400').replace(b'"a"', b'"b"')
    assert server.ask("POST", PODS, huge).status == 400


def test_errors_come_each_time_and_after_good_ones(server: Api) -> None:
    bad = pod("bad", restartPolicy="Sometimes")
    for _ in range(2):
        assert server.ask("POST", PODS, pod("good")).status in (201, 409)
        assert "spec.restartPolicy: Unsupported value" in server.ask("POST", PODS, bad).message


def test_every_pod_with_an_odd_name_is_warned_of(server: Api) -> None:
    asked = []
    for name in ("a", "odd.name", "odder.name"):
        request = Request("POST", PODS, {}, {}, json.dumps(pod(name)).encode(), ADMIN)
        server.run(request)
        asked.append(len(request.warnings))
    assert asked == [0, 1, 1]


def test_token_volumes_have_names_of_their_own(with_accounts: Api) -> None:
    made = [with_accounts.ask("POST", PODS, pod(name)).body["spec"] for name in ("a", "b")]
    names = {spec["volumes"][0]["name"] for spec in made}
    assert len(names) == 2
    for spec in made:
        assert spec["containers"][0]["volumeMounts"][0]["name"] == spec["volumes"][0]["name"]


def token_pod(volume: str, mount: str = "", **container: Any) -> dict[str, Any]:
    mounted = {"name": mount or volume, "mountPath": "/x"}
    spec = {
        "volumes": [{"name": volume, "emptyDir": {}}],
        "containers": [{"name": "c", "volumeMounts": [mounted], **container}],
    }
    return {"metadata": {"name": "a"}, "spec": spec}


def test_names_of_token_volumes_make_no_difference() -> None:
    one, other = "kube-api-access-bcdfg", "kube-api-access-hjklm"
    assert sound.key(token_pod(one)) == sound.key(token_pod(other))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (token_pod("kube-api-access-bcdfg"), token_pod("kube-api-access-bcdfg", "kube-api-access-hjklm")),
        (token_pod("kube-api-access-bcdfg"), token_pod("kube-api-access-BCDFG")),
        (token_pod("kube-api-access-bcdfg"), token_pod("\0")),
        (
            token_pod("kube-api-access-bcdfg", env=[{"name": "kube-api-access-bcdfg/x"}]),
            token_pod("kube-api-access-hjklm", env=[{"name": "kube-api-access-bcdfg/x"}]),
        ),
    ],
    ids=["mounts another", "no such letters", "the placeholder", "part of another text"],
)
def test_what_may_differ_has_keys_that_do(good: dict[str, Any], bad: dict[str, Any]) -> None:
    assert sound.key(good) != sound.key(bad)


def test_claims_named_after_the_pod_are_checked_for_each(server: Api) -> None:
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    volume = {"name": "v" * 60, "ephemeral": {"volumeClaimTemplate": claim}}
    assert server.ask("POST", PODS, pod("short", volumes=[volume])).status == 201
    answer = server.ask("POST", PODS, pod("n" * 200, volumes=[volume]))
    assert "must be no more than 253" in answer.message


def test_a_thousand_templates_are_not_kept(server: Api) -> None:
    for index in range(600):
        body = pod(f"p-{index}", nodeSelector={"number": str(index)})
        made = server.ask("POST", PODS, body).body
        assert made["spec"]["nodeSelector"] == {"number": str(index)}
    scope = server.served.api.router.scope("", "v1", "pods")
    assert scope is not None and scope.drafts is not None
    assert len(scope.drafts) == 512
