"""Admission policies (https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/,
mutating-admission-policy/; upstream's test/e2e/apimachinery/validatingadmissionpolicy.go is the checklist)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pilothouse.apiserver.request import UserInfo
from tests.unit.apiserver.admission.conftest import (
    ALLOWED,
    CONFIGURATIONS,
    MAPS,
    Dynamic,
    config_map,
    hook,
    patch,
    put,
    rule,
)

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
_CHECKS = "apiserver_validating_admission_policy_check_total"


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def validating(server: Dynamic, *validations: dict[str, Any], actions: str = "Deny", **more: Any) -> None:
    """A policy `p` with a binding `b`; what begins with `binding_` goes to that."""
    binding = {
        key.removeprefix("binding_"): more.pop(key) for key in list(more) if key.startswith("binding_")
    }
    more.setdefault("matchConstraints", {"resourceRules": [rule("configmaps")]})
    server.make("validatingadmissionpolicies", "p", {"validations": list(validations), **more})
    spec = {"policyName": "p", "validationActions": actions.split(), **binding}
    server.make("validatingadmissionpolicybindings", "b", spec)


def denied(why: str) -> str:
    return f"ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}"


def test_a_policy_denies_what_breaks_it(server: Dynamic) -> None:
    """e2e "should validate against a Deployment"."""
    constraints = {"resourceRules": [rule("deployments", group="apps", operations="CREATE UPDATE")]}
    validating(
        server,
        {
            "expression": "object.spec.replicas > 1",
            "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
        },
        {"expression": "namespaceObject.metadata.name == 'default'", "message": "elsewhere"},
        matchConstraints=constraints,
    )
    assert server.api("POST", DEPLOYMENTS, deployment("good", 2)).code == 201
    answer = server.api("POST", DEPLOYMENTS, deployment("bad", 1))
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    why = denied("wants replicas > 1, got 1")
    assert answer.message == f'deployments.apps "bad" is forbidden: {why}'
    assert answer.body["details"] == {
        "name": "bad",
        "group": "apps",
        "kind": "deployments",
        "causes": [{"message": why}],
    }
    assert server.api.merge(f"{DEPLOYMENTS}/good", {"spec": {"replicas": 0}}).code == 422
    labels = {"policy": "p", "policy_binding": "b", "error_type": "no_error", "enforcement_action": "deny"}
    assert server.count(_CHECKS, **labels) == 2


@pytest.mark.parametrize(
    ("validation", "code", "reason", "why"),
    [
        ({"expression": "false"}, 422, "Invalid", "failed expression: false"),
        ({"expression": "false", "message": " m "}, 422, "Invalid", "m"),
        ({"expression": "false", "reason": "Forbidden"}, 403, "Forbidden", "failed expression: false"),
        (
            {"expression": "false", "reason": "RequestEntityTooLarge"},
            413,
            "RequestEntityTooLarge",
            "failed expression: false",
        ),
        (
            {"expression": "false", "message": "m", "messageExpression": "string(object.data.none)"},
            422,
            "Invalid",
            "m",
        ),
        ({"expression": "false", "message": "m", "messageExpression": "'a\\nb'"}, 422, "Invalid", "m"),
        (
            {"expression": "object.data.none == 'x'"},
            422,
            "Invalid",
            "expression 'object.data.none == 'x'' resulted in error: no such key: none",
        ),
    ],
)
def test_why_and_how_a_request_is_denied(
    server: Dynamic, validation: dict[str, Any], code: int, reason: str, why: str
) -> None:
    validating(server, validation)
    answer = server.api("POST", MAPS, config_map("m", a="b"))
    assert (answer.code, answer.body["reason"]) == (code, reason)
    assert answer.message == f'configmaps "m" is forbidden: {denied(why)}'


def test_a_policy_may_warn_instead(server: Dynamic) -> None:
    validating(server, {"expression": "size(object.data) < 2", "message": "too much"}, actions="Warn Audit")
    answer = server.api("POST", MAPS, config_map("warned", a="1", b="2"))
    text = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': too much"
    assert (answer.code, answer.warnings) == (201, [text])


def test_a_policy_without_a_binding_or_with_one_for_another_namespace_does_nothing(server: Dynamic) -> None:
    chosen = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    validating(server, {"expression": "false"}, binding_matchResources=chosen)
    assert server.api("POST", MAPS, config_map("elsewhere")).code == 201
    assert server.api("POST", MAPS.replace("default", "kube-system"), config_map("m")).code == 422
    server.api("DELETE", f"{CONFIGURATIONS}/validatingadmissionpolicybindings/b")
    assert server.api("POST", MAPS.replace("default", "kube-system"), config_map("m")).code == 201


def test_rules_may_leave_out_and_name_what_they_are_about(server: Dynamic) -> None:
    constraints = {
        "resourceRules": [{**rule("*"), "resourceNames": ["named", "left-out"]}],
        "excludeResourceRules": [{**rule("configmaps"), "resourceNames": ["left-out"]}],
    }
    validating(server, {"expression": "false"}, matchConstraints=constraints)
    codes = [server.api("POST", MAPS, config_map(name)).code for name in ("named", "left-out", "unnamed")]
    assert codes == [422, 201, 201]


def test_variables_are_worked_out_when_they_are_used(server: Dynamic) -> None:
    variables = [
        {"name": "n", "expression": "int(object.data.n)"},
        {"name": "double", "expression": "variables.n * 2"},
        {"name": "never", "expression": "object.data.none"},
    ]
    validating(
        server,
        {"expression": "variables.double < 10 || variables.never == ''"},
        variables=variables,
    )
    assert server.api("POST", MAPS, config_map("small", n="4")).code == 201
    answer = server.api("POST", MAPS, config_map("large", n="5"))
    assert 'composited variable "never" fails to evaluate: expression' in answer.message


def test_parameters_come_from_what_a_binding_names(server: Dynamic) -> None:
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    server.api("POST", MAPS, config_map("limits", {"role": "limit"}, max="1"))
    validating(
        server,
        {"expression": "params == null || size(object.data) <= int(params.data.max)"},
        paramKind=kind,
        matchConditions=[{"name": "others", "expression": "object.metadata.name != 'limits2'"}],
        binding_paramRef={"name": "limits", "parameterNotFoundAction": "Deny"},
    )
    assert server.api("POST", MAPS, config_map("within", a="1")).code == 201
    assert server.api("POST", MAPS, config_map("beyond", a="1", b="2")).code == 422
    server.api("DELETE", f"{MAPS}/limits")
    answer = server.api("POST", MAPS, config_map("unlimited", a="1"))
    text = (
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    )
    assert answer.message.endswith(denied(text))
    server.api("DELETE", f"{CONFIGURATIONS}/validatingadmissionpolicybindings/b")
    by_label = {"selector": {"matchLabels": {"role": "limit"}}, "parameterNotFoundAction": "Allow"}
    spec = {"policyName": "p", "validationActions": ["Deny"], "paramRef": by_label}
    server.make("validatingadmissionpolicybindings", "b", spec)
    assert server.api("POST", MAPS, config_map("unlimited", a="1", b="2")).code == 201
    server.api("POST", MAPS, config_map("limits", {"role": "limit"}, max="3"))
    server.api("POST", MAPS, config_map("limits2", {"role": "limit"}, max="1"))
    assert server.api("POST", MAPS, config_map("beyond-one", a="1", b="2")).code == 422


def test_parameters_of_a_kind_that_is_not_there_or_of_the_wrong_scope(server: Dynamic) -> None:
    kind = {"apiVersion": "rules.example.com/v1", "kind": "Rule"}
    ref = {"name": "x", "parameterNotFoundAction": "Deny"}
    validating(server, {"expression": "true"}, paramKind=kind, binding_paramRef=ref)
    assert server.api("POST", MAPS, config_map("m")).message == (
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: "
        "failed to find resource referenced by paramKind: 'rules.example.com/v1, Kind=Rule'"
    )
    server.api("DELETE", f"{CONFIGURATIONS}/validatingadmissionpolicybindings/b")
    server.api("DELETE", f"{CONFIGURATIONS}/validatingadmissionpolicies/p")
    kind = {"apiVersion": "v1", "kind": "Namespace"}
    ref["namespace"] = "default"
    validating(server, {"expression": "true"}, paramKind=kind, binding_paramRef=ref)
    answer = server.api("POST", MAPS, config_map("m"))
    assert "paramRef.namespace must not be provided for a cluster-scoped `paramKind`" in answer.message


def test_failures_are_ignored_where_the_policy_says_so(server: Dynamic) -> None:
    validating(server, {"expression": "object.data.none == ''"}, failurePolicy="Ignore")
    assert server.api("POST", MAPS, config_map("ignored", a="b")).code == 201
    labels = {
        "policy": "p",
        "policy_binding": "b",
        "error_type": "invalid_error",
        "enforcement_action": "allow",
    }
    assert server.count(_CHECKS, **labels) == 1


def test_match_conditions_and_the_authorizer(server: Dynamic) -> None:
    validating(
        server,
        {
            "expression": "authorizer.group('').resource('secrets').check('list').allowed()",
            "message": "admins only",
        },
        matchConditions=[{"name": "users", "expression": "request.userInfo.username != 'system:apiserver'"}],
        matchConstraints={"resourceRules": [rule("selfsubjectaccessreviews", group="authorization.k8s.io")]},
    )
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    review = {"spec": {"nonResourceAttributes": {"path": "/x", "verb": "get"}}}
    assert server.api("POST", path, review).code == 201
    user = UserInfo("carol", groups=("system:authenticated",))
    assert "admins only" in server.api("POST", path, review, user=user).message


def test_an_expression_that_costs_too_much_is_stopped(server: Dynamic) -> None:
    """Not at compile time: what it costs hangs on the object (PerCallLimit)."""
    dear = "object.data.all(a, object.data.all(b, object.data.all(c, a != b || b != c || true)))"
    validating(server, {"expression": dear})
    data = {f"k{i}": "v" for i in range(60)}
    assert server.api("POST", MAPS, config_map("dear", **data)).message.endswith(
        f"expression '{dear}' resulted in error: operation cancelled: actual cost limit exceeded"
    )


def test_policies_do_not_keep_themselves_in_place(server: Dynamic) -> None:
    everything = {"resourceRules": [rule("*", group="*", version="*", operations="*")]}
    validating(server, {"expression": "false"}, matchConstraints=everything)
    assert server.api("POST", MAPS, config_map("m")).code == 422
    assert server.api("DELETE", f"{CONFIGURATIONS}/validatingadmissionpolicies/p").code == 200


def test_a_changed_policy_counts_at_once(server: Dynamic) -> None:
    validating(server, {"expression": "false"})
    assert server.api("POST", MAPS, config_map("m")).code == 422
    path = f"{CONFIGURATIONS}/validatingadmissionpolicies/p"
    assert server.api.merge(path, {"spec": {"validations": [{"expression": "true"}]}}).code == 200
    assert server.api("POST", MAPS, config_map("let-in")).code == 201


# Mutating policies


def mutating(server: Dynamic, name: str, *mutations: tuple[str, str], **more: Any) -> None:
    """(patch type, expression)…, bound."""
    fields = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
    spec: dict[str, Any] = {
        "matchConstraints": {"resourceRules": [rule("configmaps", "pods")]},
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": kind, fields[kind]: {"expression": text}} for kind, text in mutations],
        **more,
    }
    binding = {"policyName": name, "paramRef": spec.pop("paramRef", None)}
    server.make("mutatingadmissionpolicies", name, spec)
    server.make("mutatingadmissionpolicybindings", name, {k: v for k, v in binding.items() if v})


def test_a_policy_changes_objects_by_configuration_and_by_patch(server: Dynamic) -> None:
    mutating(
        server,
        "m",
        (
            "ApplyConfiguration",
            "Object{metadata: Object.metadata{labels: {'env': 'test'}}, data: {'n': string(size(object.data))}}",
        ),
        (
            "JSONPatch",
            "[JSONPatch{op: 'test', path: '/data/n', value: '1'},"
            " JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a.b/c'), value: object.data.n}]",
        ),
    )
    made = server.api("POST", MAPS, config_map("made", x="y"))
    assert made.body["metadata"]["labels"] == {"env": "test", "a.b/c": "1"}
    assert made.body["data"] == {"x": "y", "n": "1"}
    unmet = server.api("POST", MAPS, config_map("unmet", x="y", z="z"))
    assert unmet.body["metadata"]["labels"] == {"env": "test"}, "a test that fails leaves the object as it is"


def test_lists_are_merged_by_their_keys_and_atomic_parts_refused(server: Dynamic) -> None:
    mutating(
        server,
        "side",
        (
            "ApplyConfiguration",
            "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'mesh', image: 'mesh',"
            " restartPolicy: 'Always'}]}}",
        ),
        matchConditions=[{"name": "once", "expression": "!has(object.spec.initContainers)"}],
        matchConstraints={"resourceRules": [rule("pods")]},
    )
    pods = "/api/v1/namespaces/default/pods"
    spec = {"containers": [{"name": "c", "image": "i"}]}
    made = server.api("POST", pods, {"metadata": {"name": "meshed"}, "spec": spec})
    (mesh,) = made.body["spec"]["initContainers"]
    assert (mesh["name"], mesh["imagePullPolicy"]) == ("mesh", "Always")
    mounts = [mount["name"] for mount in mesh["volumeMounts"]]
    assert mounts[0].startswith("kube-api-access-"), "service accounts come after it once more"
    server.api("DELETE", f"{CONFIGURATIONS}/mutatingadmissionpolicybindings/side")
    mutating(
        server,
        "args",
        (
            "ApplyConfiguration",
            "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'c', args: ['x']}]}}",
        ),
        matchConstraints={"resourceRules": [rule("pods")]},
    )
    answer = server.api("POST", pods, {"metadata": {"name": "argued"}, "spec": spec})
    assert (answer.code, answer.body["reason"]) == (403, "Invalid")
    assert answer.message == (
        "policy 'args' with binding 'args' denied request: error applying patch: invalid ApplyConfiguration: may not "
        "mutate atomic arrays, maps or structs: .spec.containers[0].args"
    )


def test_a_mutation_that_fails_is_told_or_ignored(server: Dynamic) -> None:
    mutating(server, "bad", ("JSONPatch", "[JSONPatch{op: 'add', path: '/data/x', value: object.data.none}]"))
    answer = server.api("POST", MAPS, config_map("m", a="b"))
    assert "policy 'bad' with binding 'bad' denied request: expression" in answer.message
    assert answer.message.endswith("no such key: none")
    path = f"{CONFIGURATIONS}/mutatingadmissionpolicies/bad"
    assert server.api.merge(path, {"spec": {"failurePolicy": "Ignore"}}).code == 200
    assert server.api("POST", MAPS, config_map("ignored-too", a="b")).code == 201


def test_types_are_named_after_where_they_stand(server: Dynamic) -> None:
    mutating(
        server,
        "named",
        ("ApplyConfiguration", "Object{metadata: Object.spec{labels: {'a': 'b'}}}"),
    )
    answer = server.api("POST", MAPS, config_map("m", a="b"))
    assert answer.message.endswith(
        'denied request: type mismatch: unexpected type name "Object.spec", expected "Object.metadata", which matches '
        "field name path from root Object type"
    )


def test_policies_and_webhooks_that_change_objects_see_each_others_work(server: Dynamic) -> None:
    """Policies come first; with reinvocationPolicy IfNeeded one is run again after a webhook."""
    count = "Object{metadata: Object.metadata{annotations: {'keys': string(size(object.data))}}}"
    mutating(server, "count", ("ApplyConfiguration", count), reinvocationPolicy="IfNeeded")
    server.webhooks.answers["https://add"] = lambda request: patch(put("/data/added", "1"))
    server.configure("mutating", "w", hook("add"))
    made = server.api("POST", MAPS, config_map("both", own="x"))
    assert made.body["metadata"]["annotations"] == {"keys": "2"}
    assert server.webhooks.asked == ["https://add"]
    (review,) = server.webhooks.reviews
    assert review["request"]["object"]["metadata"]["annotations"] == {"keys": "1"}


def test_a_mutating_policy_has_parameters_and_variables(server: Dynamic) -> None:
    server.api("POST", "/api/v1/namespaces/kube-system/configmaps", config_map("team", color="blue"))
    mutating(
        server,
        "team",
        ("ApplyConfiguration", "Object{metadata: Object.metadata{labels: {'team': variables.team}}}"),
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        paramRef={"name": "team", "namespace": "kube-system", "parameterNotFoundAction": "Deny"},
        variables=[{"name": "team", "expression": "params.data.color"}],
    )
    made = server.api("POST", MAPS, config_map("teamed"))
    assert made.body["metadata"]["labels"] == {"team": "blue"}


# Custom resources


def test_custom_resources_are_shown_in_the_version_of_the_rule(server: Dynamic) -> None:
    """e2e "should mutate custom resource with different stored version", "… with pruning"."""

    def version(name: str, *, storage: bool) -> dict[str, Any]:
        data = {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "string", "default": "d"}},
        }
        schema = {"type": "object", "properties": {"data": data}}
        return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}

    group = "stable.example.com"
    crd = {
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version("v1", storage=True), version("v2", storage=False)],
        },
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert server.api("POST", definitions, crd).code == 201
    path = f"/apis/{group}/v2/namespaces/default/things"
    while server.api("GET", path).code != 200:
        pass
    server.webhooks.answers["https://mutate"] = lambda request: patch(
        put("/data/a", request["object"]["apiVersion"]), put("/data/pruned", "x")
    )
    server.webhooks.answers["https://see"] = lambda request: ALLOWED
    server.configure("mutating", "m", hook("mutate", rule("things", group=group)))
    everything = rule("things", group=group, version="*", operations="*")
    server.configure("validating", "v", hook("see", everything))
    thing = {"apiVersion": f"{group}/v2", "kind": "Thing", "metadata": {"name": "t"}, "data": {}}
    made = server.api("POST", path, thing)
    assert made.body["data"] == {"a": f"{group}/v1", "b": "d"}, made.body
    assert made.body["apiVersion"] == f"{group}/v2"
    validated = server.webhooks.reviews[-1]["request"]
    assert (validated["resource"]["version"], validated["object"]["apiVersion"]) == ("v2", f"{group}/v2")
    assert server.api("DELETE", f"{path}/t").code == 200
    deleted = server.webhooks.reviews[-1]["request"]
    assert (deleted["operation"], deleted["oldObject"]["apiVersion"]) == ("DELETE", f"{group}/v2")
    assert json.dumps(deleted["oldObject"]["data"]) == json.dumps(made.body["data"])
    server.api("DELETE", f"{CONFIGURATIONS}/mutatingwebhookconfigurations/m")

    # Custom resources are parameters, too, whatever version they were written in.
    server.api("POST", path, {**thing, "metadata": {"name": "limit"}, "data": {"a": "blue"}})
    validating(
        server,
        {"expression": "params.apiVersion.endsWith('/v1') && object.data.color == params.data.a"},
        paramKind={"apiVersion": f"{group}/v1", "kind": "Thing"},
        binding_paramRef={"name": "limit", "parameterNotFoundAction": "Deny"},
    )
    codes = [server.api("POST", MAPS, config_map(color, color=color)).code for color in ("blue", "red")]
    assert codes == [201, 422]
