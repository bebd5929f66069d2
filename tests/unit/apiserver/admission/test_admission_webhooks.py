"""Admission webhooks (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/;
upstream's test/e2e/apimachinery/webhook.go is the checklist)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pilothouse.api.resources import CONFIG_MAPS, MUTATING_WEBHOOK_CONFIGURATIONS
from pilothouse.apiserver.admission.chain import chain
from pilothouse.apiserver.admission.mutating_webhook import MutatingAdmissionWebhook
from pilothouse.apiserver.request import UserInfo
from pilothouse.apiserver.webhook_client import WebhookError
from tests.admission import Bench, attributes
from tests.unit.apiserver.admission.conftest import (
    ALLOWED,
    CONFIGURATIONS,
    MAPS,
    Dynamic,
    Webhooks,
    config_map,
    hook,
    patch,
    put,
    rule,
)

PODS = "/api/v1/namespaces/default/pods"


def pod(name: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **meta}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def test_a_webhook_sees_the_request_and_its_no_is_the_answer(server: Dynamic) -> None:
    server.webhooks.answers["https://no"] = lambda request: {
        "allowed": False,
        "status": {"message": "not today", "code": 403, "reason": "Forbidden"},
        "warnings": ["ask tomorrow"],
    }
    server.configure("validating", "v", hook("no"))
    answer = server.api("POST", f"{MAPS}?fieldManager=me", config_map("m", a="b"))
    assert (answer.code, answer.body["reason"]) == (403, "Forbidden")
    assert answer.message == 'admission webhook "no.example.com" denied the request: not today'
    assert answer.warnings == ["ask tomorrow"]
    (review,) = server.webhooks.reviews
    assert (review["kind"], review["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    request = review["request"]
    obj, _ = request.pop("object"), request.pop("uid")
    assert (obj["kind"], obj["metadata"]["name"], obj["data"]) == ("ConfigMap", "m", {"a": "b"})
    assert obj["metadata"]["uid"], "validating admission sees what will be stored"
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    assert request == {
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": "m",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {
            "username": "admin",
            "uid": "admin",
            "groups": ["system:masters", "system:authenticated"],
        },
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"},
    }


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (None, 400, "without explanation"),
        ({"reason": "Because"}, 400, ": Because"),
        ({"code": 200, "message": "m"}, 400, ": m"),
        ({"code": 418, "message": "m"}, 418, ": m"),
    ],
)
def test_a_no_without_words(server: Dynamic, status: Any, code: int, message: str) -> None:
    server.webhooks.answers["https://no"] = lambda request: {"allowed": False, "status": status}
    server.configure("validating", "v", hook("no"))
    answer = server.api("POST", MAPS, config_map("m"))
    assert answer.code == code
    assert (
        answer.message.removeprefix('admission webhook "no.example.com" denied the request').strip()
        == message
    )


def test_updates_deletions_and_connections_are_shown_with_what_was_there(server: Dynamic) -> None:
    server.webhooks.answers["https://see"] = lambda request: ALLOWED
    server.configure(
        "validating",
        "v",
        hook("see", rule("configmaps", operations="UPDATE DELETE"), rule("pods/*", operations="CONNECT")),
    )
    assert server.api("POST", MAPS, config_map("changing", a="1")).code == 201
    assert server.api.merge(f"{MAPS}/changing", {"data": {"a": "2"}}).code == 200
    assert server.api("DELETE", f"{MAPS}/changing").code == 200
    updated, deleted = (review["request"] for review in server.webhooks.reviews)
    assert (updated["object"]["data"], updated["oldObject"]["data"]) == ({"a": "2"}, {"a": "1"})
    assert updated["options"]["kind"] == "UpdateOptions", "a patch is an update to those who admit it"
    assert (deleted["object"], deleted["oldObject"]["data"]) == (None, {"a": "2"})
    assert deleted["options"]["kind"] == "DeleteOptions"


def test_an_object_is_changed_step_by_step_in_the_order_of_names(server: Dynamic) -> None:
    server.webhooks.answers["https://first"] = lambda request: patch(put("/data/first", "1"))
    server.webhooks.answers["https://second"] = lambda request: patch(
        put("/data/second", str(len(request["object"]["data"])))
    )
    server.configure("mutating", "b", hook("second"))
    server.configure("mutating", "a", hook("first"))
    made = server.api("POST", MAPS, config_map("mutated", own="x"))
    assert made.body["data"] == {"own": "x", "first": "1", "second": "2"}
    (owner,) = made.body["metadata"]["managedFields"]
    assert "f:first" not in json.dumps(owner), "as upstream, nobody owns what a webhook has set on creation"


def test_a_changed_pod_is_defaulted_and_seen_by_all_plugins_once_more(server: Dynamic) -> None:
    """e2e "should mutate pod and apply defaults after mutation"; a sidecar gets its token like any container."""
    server.webhooks.answers["https://side"] = lambda request: patch(
        put("/spec/containers/-", {"name": "side", "image": "s"})
    )
    server.configure("mutating", "m", hook("side", rule("pods")))
    for name in ("p1", "p2"):
        made = server.api("POST", PODS, pod(name))
        own, side = made.body["spec"]["containers"]
        assert side["terminationMessagePath"] == "/dev/termination-log"
        assert [m["name"] for m in side["volumeMounts"]] == [m["name"] for m in own["volumeMounts"]]
    assert server.webhooks.asked == ["https://side"] * 2, "reinvocationPolicy is Never by default"


def test_pods_of_one_template_are_shown_each(server: Dynamic) -> None:
    """What is remembered of a template is what was there before anybody changed it."""
    for name in ("t1", "t2"):
        assert server.api("POST", PODS, pod(name, labels={"a": "b"})).code == 201
    server.webhooks.answers["https://label"] = lambda request: patch(
        put("/metadata/labels/seen", request["object"]["metadata"]["name"])
    )
    server.configure("mutating", "m", hook("label", rule("pods")))
    for name in ("t3", "t4"):
        made = server.api("POST", PODS, pod(name, labels={"a": "b"}))
        assert made.body["metadata"]["labels"] == {"a": "b", "seen": name}
    server.api("DELETE", f"{CONFIGURATIONS}/mutatingwebhookconfigurations/m")
    assert server.api("POST", PODS, pod("t5", labels={"a": "b"})).body["metadata"]["labels"] == {"a": "b"}


def test_a_webhook_may_give_the_name_that_would_be_generated(server: Dynamic) -> None:
    server.webhooks.answers["https://name"] = lambda request: patch(put("/metadata/name", "given"))
    server.configure("mutating", "m", hook("name"))
    made = server.api("POST", MAPS, {"metadata": {"generateName": "gen-"}})
    assert made.body["metadata"]["name"] == "given"


def test_webhooks_that_want_to_are_asked_again_after_a_change(server: Dynamic) -> None:
    """reinvocationPolicy IfNeeded: at most once more, and only when something changed after it was asked."""
    server.webhooks.answers["https://a"] = lambda request: ALLOWED
    server.webhooks.answers["https://b"] = lambda request: patch(put("/data/b", "1"))
    server.webhooks.answers["https://c"] = lambda request: ALLOWED
    server.configure(
        "mutating",
        "m",
        hook("a", reinvocationPolicy="IfNeeded"),
        hook("b"),
        hook("c", reinvocationPolicy="IfNeeded"),
    )
    server.api("POST", MAPS, config_map("again", x="y"))
    assert server.webhooks.asked == ["https://a", "https://b", "https://c", "https://a"]
    assert "b" in server.webhooks.reviews[-1]["request"]["object"]["data"]


def test_custom_rules_choose_what_a_webhook_is_asked_about(server: Dynamic) -> None:
    server.webhooks.answers["https://see"] = lambda request: ALLOWED
    server.configure(
        "validating",
        "v",
        hook(
            "see",
            {**rule("*"), "scope": "Cluster"},
            namespaceSelector={},
            objectSelector={"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
        ),
    )
    server.api("POST", MAPS, config_map("namespaced"))
    assert server.webhooks.asked == []
    server.api("POST", "/api/v1/namespaces", {"metadata": {"name": "seen"}})
    server.api("POST", "/api/v1/namespaces", {"metadata": {"name": "skipped", "labels": {"skip": ""}}})
    (review,) = server.webhooks.reviews
    assert (review["request"]["name"], review["request"]["namespace"]) == ("seen", "seen")


def test_namespaces_are_selected_by_their_labels(server: Dynamic) -> None:
    server.webhooks.answers["https://see"] = lambda request: ALLOWED
    named = {"matchLabels": {"kubernetes.io/metadata.name": "chosen"}}
    server.configure("validating", "v", hook("see", namespaceSelector=named))
    server.api("POST", "/api/v1/namespaces", {"metadata": {"name": "chosen"}})
    server.api("POST", MAPS, config_map("elsewhere"))
    server.api("POST", "/api/v1/namespaces/chosen/configmaps", config_map("there"))
    assert [review["request"]["name"] for review in server.webhooks.reviews] == ["there"]


SCALERS = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"


def test_an_equivalent_version_is_shown_in_the_version_of_the_rule(server: Dynamic) -> None:
    """matchPolicy: the rule is for autoscaling/v2, the request for v1."""
    server.webhooks.answers["https://see"] = lambda request: patch(
        put("/spec/metrics/0/resource/target/averageUtilization", 77)
    )
    one = rule("horizontalpodautoscalers", group="autoscaling", version="v2")
    server.configure("mutating", "m", hook("see", one))
    spec = {
        "maxReplicas": 3,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "targetCPUUtilizationPercentage": 50,
    }
    made = server.api("POST", SCALERS, {"metadata": {"name": "h"}, "spec": spec})
    (review,) = server.webhooks.reviews
    request = review["request"]
    assert request["kind"] == {"group": "autoscaling", "version": "v2", "kind": "HorizontalPodAutoscaler"}
    assert request["requestKind"]["version"] == "v1"
    assert request["object"]["apiVersion"] == "autoscaling/v2"
    assert request["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    assert made.body["spec"]["targetCPUUtilizationPercentage"] == 77
    server.api("DELETE", f"{CONFIGURATIONS}/mutatingwebhookconfigurations/m")
    server.configure("mutating", "m", hook("see", one, matchPolicy="Exact"))
    assert server.api("POST", SCALERS, {"metadata": {"name": "h2"}, "spec": spec}).code == 201
    assert len(server.webhooks.reviews) == 1


def test_a_subresource_with_a_kind_of_its_own_is_shown_as_that(server: Dynamic) -> None:
    server.webhooks.answers["https://see"] = lambda request: ALLOWED
    server.configure("validating", "v", hook("see", rule("pods/binding"), rule("pods/eviction")))
    server.api("POST", PODS, pod("bound"))
    target = {"kind": "Node", "name": "n"}
    answer = server.api("POST", f"{PODS}/bound/binding", {"metadata": {"name": "bound"}, "target": target})
    assert answer.code == 201
    (review,) = server.webhooks.reviews
    request = review["request"]
    assert (request["kind"]["kind"], request["subResource"]) == ("Binding", "binding")
    assert (request["resource"]["resource"], request["object"]["target"]["name"]) == ("pods", "n")


def test_match_conditions_look_at_object_request_and_what_the_user_may(server: Dynamic) -> None:
    server.webhooks.answers["https://see"] = lambda request: ALLOWED
    conditions = [
        {"name": "named", "expression": "object.metadata.name.startsWith('a')"},
        {"name": "created", "expression": "request.operation == 'CREATE' && oldObject == null"},
        {
            "name": "no-admins",
            "expression": "!authorizer.group('').resource('secrets').namespace('default').check('get').allowed()"
            " && authorizer.requestResource.check('create').allowed()",
        },
    ]
    server.configure("validating", "v", hook("see", matchConditions=conditions))
    server.api("POST", MAPS, config_map("a-by-admin"))
    excluded = server.count(
        "apiserver_admission_match_condition_exclusions_total",
        name="see.example.com", kind="webhook", type="validate", operation="CREATE",
    )  # fmt: skip
    assert (server.webhooks.asked, excluded) == ([], 1)
    rbac, group = "/apis/rbac.authorization.k8s.io/v1/namespaces/default", "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]
    server.api("POST", f"{rbac}/roles", {"metadata": {"name": "maps"}, "rules": rules})
    binding = {
        "metadata": {"name": "maps"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "maps"},
        "subjects": [{"kind": "User", "name": "bob", "apiGroup": group}],
    }
    server.api("POST", f"{rbac}/rolebindings", binding)
    bob = UserInfo("bob", groups=("system:authenticated",))
    assert server.api("POST", MAPS, config_map("a-by-bob"), user=bob).code == 201
    assert server.api("POST", MAPS, config_map("b-by-bob"), user=bob).code == 201
    assert [review["request"]["name"] for review in server.webhooks.reviews] == ["a-by-bob"]


def test_a_match_condition_that_fails_keeps_the_request_out_unless_failures_are_ignored(
    server: Dynamic,
) -> None:
    """e2e "should mutate everything except 'skip-me' configmaps", "should reject … with invalid conditions"."""
    conditions = [{"name": "labelled", "expression": "object.metadata.labels['x'] == 'y'"}]
    server.configure("validating", "v", hook("see", matchConditions=conditions))
    answer = server.api("POST", MAPS, config_map("unlabelled"))
    assert answer.code == 403
    assert answer.message == (
        "configmaps \"unlabelled\" is forbidden: expression 'object.metadata.labels['x'] == 'y'' resulted in "
        "error: no such key: labels"
    )
    server.api("DELETE", f"{CONFIGURATIONS}/validatingwebhookconfigurations/v")
    server.configure("validating", "v", hook("see", matchConditions=conditions, failurePolicy="Ignore"))
    assert server.api("POST", MAPS, config_map("unlabelled")).code == 201
    assert server.webhooks.asked == []


def _broken(response: Any) -> Any:
    return lambda request: response


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (WebhookError('Post "https://x": EOF'), 'failed to call webhook: Post "https://x": EOF'),
        (b"{}", "received invalid webhook response: webhook response was absent"),
        (b"nonsense", "failed to call webhook: couldn't decode"),
        ({"uid": "other", "allowed": True}, "received invalid webhook response: expected response.uid="),
        (
            {"allowed": True, "patchType": "JSONPatch"},
            "received invalid webhook response: webhook returned response.patchType but not response.patch",
        ),
        (
            {"allowed": True, "patch": "W10="},
            "received invalid webhook response: webhook returned response.patch but not response.patchType",
        ),
        (
            {"allowed": True, "patch": "e30=", "patchType": "JSONPatch"},
            "received undecodable patch in webhook response: ",
        ),
        (60.0, 'failed to call webhook: Post "https://bad": context deadline exceeded'),
    ],
)
def test_a_webhook_that_fails_keeps_requests_out_or_lets_them_in(
    server: Dynamic, response: Any, why: str
) -> None:
    server.webhooks.answers["https://bad"] = _broken(response)
    server.configure("mutating", "m", hook("bad"))
    answer = server.api("POST", MAPS, config_map("closed"))
    prefix = f'Internal error occurred: failed calling webhook "bad.example.com": {why}'
    assert (answer.code, answer.body["reason"]) == (500, "InternalError")
    assert answer.message.startswith(prefix), answer.message
    server.api("DELETE", f"{CONFIGURATIONS}/mutatingwebhookconfigurations/m")
    server.configure("mutating", "m", hook("bad", failurePolicy="Ignore"))
    assert server.api("POST", MAPS, config_map("open")).code == 201
    server.api("DELETE", f"{MAPS}/open")


def test_a_patch_that_cannot_be_done_or_has_nothing_to_change_is_an_error(server: Dynamic) -> None:
    server.webhooks.answers["https://bad"] = lambda request: patch({"op": "remove", "path": "/none/here"})
    server.configure("mutating", "m", hook("bad", rule("configmaps", operations="CREATE DELETE")))
    answer = server.api("POST", MAPS, config_map("m"))
    assert (answer.code, answer.body["reason"]) == (500, "InternalError")
    server.api("DELETE", f"{CONFIGURATIONS}/mutatingwebhookconfigurations/m")
    server.api("POST", MAPS, config_map("kept"))
    server.configure("mutating", "m", hook("bad", rule("configmaps", operations="DELETE")))
    assert server.api("DELETE", f"{MAPS}/kept").message == (
        'Internal error occurred: admission webhook "bad.example.com" attempted to modify the object, which is not '
        "supported for this operation"
    )


def test_a_changed_object_is_validated(server: Dynamic) -> None:
    server.webhooks.answers["https://bad"] = lambda request: patch(put("/data/not a key", "x"))
    server.configure("mutating", "m", hook("bad"))
    answer = server.api("POST", MAPS, config_map("m", a="b"))
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")


def test_owners_of_fields_that_make_no_sense_are_not_taken_over(server: Dynamic) -> None:
    """managedfields/admission.go."""
    server.webhooks.answers["https://bad"] = lambda request: patch(
        put("/metadata/managedFields", [{"manager": "x", "operation": "Nonsense"}])
    )
    server.configure("mutating", "m", hook("bad"))
    made = server.api("POST", MAPS, config_map("owned", a="b"))
    assert made.code == 201
    assert [entry["manager"] for entry in made.body["metadata"]["managedFields"]] == ["test"]
    assert made.warnings[0].startswith(".metadata.managedFields was in an invalid state after admission")


def test_a_dry_run_asks_only_webhooks_without_side_effects(server: Dynamic) -> None:
    server.webhooks.answers["https://see"] = lambda request: ALLOWED
    server.configure("validating", "v", hook("see", sideEffects="NoneOnDryRun"))
    assert server.api("POST", f"{MAPS}?dryRun=All", config_map("dry")).code == 201
    assert server.webhooks.reviews[0]["request"]["dryRun"] is True


def test_configurations_are_not_intercepted(server: Dynamic) -> None:
    """e2e "should not be able to mutate or prevent deletion of webhook configuration objects"."""
    server.webhooks.answers["https://no"] = lambda request: {"allowed": False}
    everything = rule("*", group="admissionregistration.k8s.io", operations="*")
    server.configure("validating", "v", hook("no", everything))
    server.configure("mutating", "m", hook("no", everything))
    assert server.api("DELETE", f"{CONFIGURATIONS}/mutatingwebhookconfigurations/m").code == 200
    assert server.webhooks.asked == []


def test_all_validating_webhooks_are_asked_at_once(server: Dynamic) -> None:
    """Ten that take a second each take a second together (virtual time)."""
    for i in range(10):
        server.webhooks.answers[f"https://slow{i}"] = lambda request: 1.0
    server.configure("validating", "v", *(hook(f"slow{i}", timeoutSeconds=2) for i in range(10)))
    name = "apiserver_admission_controller_admission_duration_seconds_sum"
    labels = {
        "name": "ValidatingAdmissionWebhook", "type": "validate", "operation": "CREATE", "rejected": "false",
    }  # fmt: skip
    before = server.count(name, **labels)
    assert server.api("POST", MAPS, config_map("slow")).code == 201
    assert server.count(name, **labels) - before == pytest.approx(1.0)


def test_what_webhooks_do_is_counted(server: Dynamic) -> None:
    answers = {"https://counted": ALLOWED}
    server.webhooks.answers["https://counted"] = lambda request: answers["https://counted"]
    server.configure("validating", "v", hook("counted", failurePolicy="Ignore"))

    def total(code: str, rejected: str) -> float:
        return server.count(
            "apiserver_admission_webhook_request_total",
            name="counted.example.com", type="validate", operation="CREATE", code=code, rejected=rejected,
        )  # fmt: skip

    server.api("POST", MAPS, config_map("counted1"))
    answers["https://counted"] = {"allowed": False, "status": {"code": 999}}
    server.api("POST", MAPS, config_map("counted2"))
    answers["https://counted"] = WebhookError("gone", 404)  # type: ignore[assignment]
    server.api("POST", MAPS, config_map("counted3"))
    assert (total("200", "false"), total("600", "true"), total("404", "false")) == (1, 1, 1)
    assert server.count(
        "apiserver_admission_webhook_rejection_count",
        name="counted.example.com", type="validate", operation="CREATE", error_type="no_error", rejection_code="600",
    ) == 1  # fmt: skip
    assert server.count(
        "apiserver_admission_webhook_fail_open_count", name="counted.example.com", type="validate"
    ) == 1  # fmt: skip


def test_a_deletion_of_many_asks_about_each(server: Dynamic) -> None:
    server.webhooks.answers["https://no"] = lambda request: {"allowed": request["name"] != "keep"}
    server.api("POST", "/api/v1/namespaces", {"metadata": {"name": "many"}})
    maps = "/api/v1/namespaces/many/configmaps"
    for name in ("a", "keep"):
        server.api("POST", maps, config_map(name))
    server.configure("validating", "v", hook("no", rule("configmaps", operations="DELETE")))
    assert server.api("DELETE", maps).code == 400
    left = server.api("GET", maps).body["items"]
    assert [item["metadata"]["name"] for item in left] == ["keep"]


def test_a_connection_into_a_pod_may_be_refused(server: Dynamic) -> None:
    """e2e "should be able to deny attaching pod"."""
    server.webhooks.answers["https://no"] = lambda request: {"allowed": request["subResource"] != "attach"}
    server.configure("validating", "v", hook("no", rule("pods/attach", operations="CONNECT")))
    assert server.api("POST", PODS, pod("attached")).code == 201
    answer = server.api("GET", f"{PODS}/attached/attach?container=c&stdin=true")
    assert answer.message == 'admission webhook "no.example.com" denied the request without explanation'
    (review,) = server.webhooks.reviews
    assert review["request"]["object"] == {
        "kind": "PodAttachOptions", "apiVersion": "v1", "stdin": True, "container": "c",
    }  # fmt: skip
    assert review["request"]["options"] is None


def test_older_reviews_are_spoken_to_those_who_know_no_other(server: Dynamic) -> None:
    server.webhooks.answers["https://old"] = lambda request: {**ALLOWED, "uid": ""}
    server.configure("validating", "v", hook("old", admissionReviewVersions=["v9", "v1beta1", "v1"]))
    assert server.api("POST", MAPS, config_map("old-review")).code == 201
    assert server.webhooks.reviews[0]["apiVersion"] == "admission.k8s.io/v1beta1"


async def test_the_audit_event_is_told_what_webhooks_did() -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#monitoring-admission-
    webhooks: mutation and patch by round and index, and what the webhook itself has to say."""
    bench, webhooks = Bench(), Webhooks()
    one, two = hook("one", failurePolicy="Ignore"), hook("two")
    bench.store(MUTATING_WEBHOOK_CONFIGURATIONS, {"metadata": {"name": "m"}, "webhooks": [one, two]})
    webhooks.answers["https://one"] = lambda request: WebhookError("away")
    operation = put("/data/a", "b")
    webhooks.answers["https://two"] = lambda request: {**patch(operation), "auditAnnotations": {"k": "v"}}
    plugin = MutatingAdmissionWebhook(replace(bench.env(), post=webhooks.post))
    a = attributes("CREATE", {"metadata": {"name": "m", "namespace": "ns"}, "data": {}}, resource=CONFIG_MAPS)
    await plugin.admit(a)
    assert a.obj is not None and a.obj["data"] == {"a": "b"}
    found = {
        key: json.loads(value) if value[0] == "{" else value for key, value in (a.annotations or {}).items()
    }
    who = {"configuration": "m", "webhook": "two.example.com"}
    assert found == {
        "mutation.webhook.admission.k8s.io/round_0_index_0": {
            "configuration": "m", "webhook": "one.example.com", "mutated": False,
        },
        "failed-open.mutation.webhook.admission.k8s.io/round_0_index_0": "one.example.com",
        "mutation.webhook.admission.k8s.io/round_0_index_1": {**who, "mutated": True},
        "patch.webhook.admission.k8s.io/round_0_index_1": {**who, "patch": [operation], "patchType": "JSONPatch"},
        "two.example.com/k": "v",
    }  # fmt: skip
    assert plugin.idle is not None and not plugin.idle()


def test_credentials_for_webhooks_are_refused_rather_than_forgotten() -> None:
    configuration = {
        "MutatingAdmissionWebhook": {"kind": "WebhookAdmissionConfiguration", "kubeConfigFile": "x"}
    }
    with pytest.raises(ValueError, match=r"credentials for webhooks .* are not served yet"):
        chain(Bench().env(configuration))
