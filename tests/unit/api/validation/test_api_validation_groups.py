"""Rules and texts of storage, RBAC, certificates, admission, flow control, devices and priorities.

Each rule is upstream's, in pkg/apis/GROUP/validation; texts as kube-apiserver 1.36 answers them.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilothouse.api import field as f
from pilothouse.api.validation import (
    admissionregistration,
    apiregistration,
    apps,
    authorization,
    certificates,
    flowcontrol,
    gotext,
    node,
    rbac,
    resource,
    scheduling,
    storage,
)


def texts(errors: f.Errors) -> list[str]:
    return [str(error) for error in errors]


def signing_request() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "someone")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def request(**spec: Any) -> dict[str, Any]:
    whole = {"request": signing_request(), "signerName": "example.com/s", "usages": ["client auth"], **spec}
    return {"metadata": {"name": "r"}, "spec": whole, "status": {}}


# gotext: how Go prints structs


def test_go_prints_every_field_of_a_struct_by_its_own_name() -> None:
    of = gotext.struct(
        APIGroup="", Node=gotext.Maybe(gotext.struct(NodeID="")), Always=gotext.struct(URLs=None)
    )
    assert gotext.text({"apiGroup": "g"}, of).text == '{"APIGroup":"g","Node":null,"Always":{"URLs":null}}'
    assert gotext.text(None, of).text == "null"


# storage.k8s.io


def test_an_empty_topology_term_counts_as_repeated() -> None:
    obj = {"provisioner": "p", "volumeBindingMode": "Immediate", "allowedTopologies": [{}]}
    path = "allowedTopologies[0].matchLabelExpressions"
    assert texts(storage.storage_class(obj)) == [f'{path}: Duplicate value: ""']


def test_a_node_driver_may_change_only_how_much_it_takes() -> None:
    old = {"spec": {"drivers": [{"name": "d", "nodeID": "n", "allocatable": {"count": 1}}]}}
    more = {"spec": {"drivers": [{"name": "d", "nodeID": "n", "allocatable": {"count": 2}}]}}
    other = {"spec": {"drivers": [{"name": "d", "nodeID": "m"}]}}
    assert storage.csi_node_update(more, old) == []
    assert texts(storage.csi_node_update(other, old)) == [
        'spec.drivers: Invalid value: {"Name":"d","NodeID":"m","TopologyKeys":null,"Allocatable":null}: '
        "field is immutable"
    ]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({}, "Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        (
            {"persistentVolumeName": "v", "inlineVolumeSpec": {}},
            "Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
        ),
    ],
)
def test_an_attachment_has_one_source(source: dict[str, Any], text: str) -> None:
    obj = {"spec": {"attacher": "a", "nodeName": "n", "source": source}, "status": {}}
    assert texts(storage.volume_attachment_create(obj)) == [f"spec.source: {text}"]


# node.k8s.io


def test_a_runtime_class_costs_resources_that_containers_have() -> None:
    obj = {"handler": "h", "overhead": {"podFixed": {"cpu": "1", "pods": "1"}}}
    assert texts(node.runtime_class(obj)) == [
        'overhead.limits[pods]: Invalid value: "pods": must be a standard resource for containers'
    ]


# rbac.authorization.k8s.io


def test_a_role_has_no_urls() -> None:
    obj = {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}
    assert rbac.cluster_role(obj) == []
    assert texts(rbac.role(obj)) == [
        'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs'
    ]


def test_a_subject_is_of_a_known_kind_and_its_group() -> None:
    ref = {"apiGroup": rbac.GROUP, "kind": "ClusterRole", "name": "r"}
    subjects = [{"kind": "ServiceAccount", "name": "s"}, {"kind": "User", "name": "u", "apiGroup": "x"}]
    assert texts(rbac.cluster_role_binding({"roleRef": ref, "subjects": subjects})) == [
        "subjects[0].namespace: Required value",
        'subjects[1].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"',
    ]


# certificates.k8s.io


def test_a_signed_request_is_valid() -> None:
    assert certificates.certificate_signing_request(request()) == []


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            {"request": "aGk="},
            'spec.request: Invalid value: "aGk=": PEM block type must be CERTIFICATE REQUEST',
        ),
        ({"usages": ["any", "any"]}, 'spec.usages[1]: Duplicate value: "any"'),
        ({"signerName": "a/b"}, "should be a domain with at least two segments separated by dots"),
        ({"expirationSeconds": 1}, "may not specify a duration less than 600 seconds (10 minutes)"),
    ],
)
def test_a_request_is_refused(spec: dict[str, Any], text: str) -> None:
    (error,) = texts(certificates.certificate_signing_request(request(**spec)))
    assert error.endswith(text)


def test_only_the_approval_subresource_decides_and_no_one_takes_it_back() -> None:
    old = request()
    new = {**old, "status": {"conditions": [{"type": "Approved", "status": "True"}]}}
    update = certificates.certificate_signing_request_update
    assert texts(update(new, old)) == [
        'status.conditions: Forbidden: updates may not add a condition of type "Approved"'
    ]
    assert update(new, old, may_decide=True) == []
    assert texts(update(old, new, may_decide=True)) == [
        'status.conditions: Forbidden: updates may not remove a condition of type "Approved"'
    ]


# admissionregistration.k8s.io


def hook(**more: Any) -> dict[str, Any]:
    return {
        "name": "a.example.com",
        "clientConfig": {"url": "https://x.example.com/p"},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"name": "a.b"}, "should be a domain with at least three segments separated by dots"),
        ({"timeoutSeconds": 31}, "the timeout value must be between 1 and 30 seconds"),
        ({"admissionReviewVersions": ["v2"]}, "must include at least one of v1, v1beta1"),
        (
            {"clientConfig": {"url": "http://x"}},
            "'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        ({"matchConditions": [{"name": "c", "expression": "1"}]}, "must evaluate to bool but got int"),
    ],
)
def test_a_webhook_is_refused(more: dict[str, Any], text: str) -> None:
    (error,) = texts(
        admissionregistration.webhook_configuration({"webhooks": [hook(**more)]}, mutating=False)
    )
    assert error.endswith(text)


def test_what_a_stored_webhook_already_breaks_it_may_keep_breaking() -> None:
    bad = {"webhooks": [hook(sideEffects="Some"), hook(sideEffects="Unknown")]}
    assert admissionregistration.webhook_configuration(bad, mutating=False, old=bad) == []
    assert len(admissionregistration.webhook_configuration(bad, mutating=False)) == 3


def policy(**spec: Any) -> dict[str, Any]:
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    match = {"matchPolicy": "Exact", "namespaceSelector": {}, "objectSelector": {}, "resourceRules": [rule]}
    return {"metadata": {"name": "p"}, "spec": {"failurePolicy": "Fail", "matchConstraints": match, **spec}}


def test_a_variable_has_the_type_of_its_expression() -> None:
    variables = [{"name": "n", "expression": "1 + 1"}, {"name": "twice", "expression": "variables.n * 2"}]
    good = policy(variables=variables, validations=[{"expression": "variables.twice == 4"}])
    bad = policy(variables=variables, validations=[{"expression": "variables.nope == 4"}])
    assert admissionregistration.validating_admission_policy(good) == []
    (error,) = texts(admissionregistration.validating_admission_policy(bad))
    assert "undefined field 'nope'" in error


def test_parameters_are_there_when_the_policy_names_their_kind() -> None:
    validations = [{"expression": "params.x == 1"}]
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    assert (
        admissionregistration.validating_admission_policy(policy(validations=validations, paramKind=kind))
        == []
    )
    (error,) = texts(admissionregistration.validating_admission_policy(policy(validations=validations)))
    assert "undeclared reference to 'params'" in error


def test_a_mutation_makes_what_its_patch_type_says() -> None:
    patch = "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'y'}]"
    good = policy(
        reinvocationPolicy="Never",
        mutations=[{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    )
    bad = policy(
        reinvocationPolicy="Never",
        mutations=[{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "1"}}],
    )
    assert admissionregistration.mutating_admission_policy(good) == []
    assert texts(admissionregistration.mutating_admission_policy(bad)) == [
        'spec.mutations[0].applyConfiguration.expression: Invalid value: "1": '
        "must evaluate to Object but got int"
    ]


# apiregistration.k8s.io


def test_an_api_service_is_named_after_what_it_serves() -> None:
    spec = {"group": "g.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
    obj = {"metadata": {"name": "x"}, "spec": spec, "status": {}}
    assert texts(apiregistration.api_service(obj)) == [
        'metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.g.io"'
    ]


# flowcontrol.apiserver.k8s.io


def test_mandatory_levels_stay_as_they_are() -> None:
    exempt = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 9, "lendablePercent": 1}}
    catch_all = {**flowcontrol.MANDATORY_PRIORITY_LEVELS["catch-all"]}
    catch_all["limited"] = {**catch_all["limited"], "nominalConcurrencyShares": 6}

    def errors(name: str, spec: dict[str, Any]) -> list[str]:
        obj = {"metadata": {"name": name}, "spec": spec, "status": {}}
        return texts(flowcontrol.priority_level_configuration(obj))

    assert errors("exempt", exempt) == []
    (error,) = errors("catch-all", catch_all)
    assert error.endswith("spec of 'catch-all' must equal the fixed value")


def test_a_hand_fits_into_sixty_bits() -> None:
    queuing = {"queues": 10_000_000, "handSize": 3, "queueLengthLimit": 1}
    limited = {"limitResponse": {"type": "Queue", "queuing": queuing}}
    obj = {"metadata": {"name": "n"}, "spec": {"type": "Limited", "limited": limited}, "status": {}}
    (error,) = texts(flowcontrol.priority_level_configuration(obj))
    assert error.endswith(
        "required entropy bits of deckSize 10000000 and handSize 3 should not be greater than 60"
    )


# scheduling.k8s.io


def test_system_priorities_are_known_and_fixed() -> None:
    good = {"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}
    assert scheduling.priority_class(good) == []
    (error,) = texts(scheduling.priority_class({**good, "value": 1}))
    assert error.endswith("error: value of system-node-critical PriorityClass must be 2000001000")


# resource.k8s.io


def test_requests_are_referred_to_by_name_or_name_and_alternative() -> None:
    requests = [
        {"name": "r", "firstAvailable": [{"name": "a", "deviceClassName": "c", "allocationMode": "All"}]}
    ]
    constraints = [{"requests": ["r", "r/a", "r/b"], "matchAttribute": "d.io/x"}]
    obj = {"spec": {"devices": {"requests": requests, "constraints": constraints}}}
    assert texts(resource.resource_claim(obj)) == [
        'spec.devices.constraints[0].requests[2]: Invalid value: "r/b": must be the name of a request in the '
        "claim or the name of a request and a subrequest separated by '/'"
    ]


def test_an_allocation_is_made_once() -> None:
    result = {"request": "r", "driver": "d", "pool": "p", "device": "x"}
    spec = {"devices": {"requests": [{"name": "r"}]}}

    def claim(**status: Any) -> dict[str, Any]:
        return {"metadata": {}, "spec": spec, "status": status}

    allocated = claim(allocation={"devices": {"results": [result]}})
    assert resource.resource_claim_status_update(allocated, claim()) == []
    other = claim(allocation={"devices": {"results": [{**result, "device": "y"}]}})
    (error,) = texts(resource.resource_claim_status_update(other, allocated))
    assert error.endswith("field is immutable")
    (error,) = texts(
        resource.resource_claim_status_update(
            claim(reservedFor=[{"resource": "pods", "name": "a", "uid": "1"}]), claim()
        )
    )
    assert error.endswith("may not be specified when `allocated` is not set")


@pytest.mark.parametrize(
    ("attribute", "text"),
    [
        ({}, 'Invalid value: "": exactly one value must be specified'),
        ({"version": "1.2"}, 'Invalid value: "1.2": must be a string compatible with semver.org spec 2.0.0'),
    ],
)
def test_an_attribute_has_one_good_value(attribute: dict[str, Any], text: str) -> None:
    spec = {
        "driver": "d.io",
        "nodeName": "n",
        "pool": {"name": "p", "resourceSliceCount": 1},
        "devices": [{"name": "x", "attributes": {"a": attribute}}],
    }
    (error,) = texts(resource.resource_slice({"spec": spec}))
    assert error.endswith(text)


# authorization.k8s.io


def test_a_review_is_of_somebody_and_something_and_has_no_name() -> None:
    obj = {"metadata": {"name": "x"}, "spec": {}}
    assert texts(authorization.subject_access_review(obj)) == [
        "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or "
        "resourceAttributes must be specified",
        'spec.user: Invalid value: "": at least one of user or group must be specified',
        'metadata: Invalid value: {"name":"x"}: must be empty',
    ]


def test_a_new_stateful_set_names_its_service_by_a_label() -> None:
    labels = {"app": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [], "restartPolicy": "Always"}}
    obj = {"spec": {"serviceName": "Not_A_Label", "selector": {"matchLabels": labels}, "template": template}}
    assert "spec.serviceName" in [error.field for error in apps.stateful_set_create(obj)]
    assert "spec.serviceName" not in [error.field for error in apps.stateful_set_update(obj, obj)]


def test_maps_are_shown_in_gos_order_and_structs_in_theirs() -> None:
    labels = {"b": "1", "a": "2"}
    shown = f.invalid("spec.template.metadata.labels", labels, "no").body()
    assert shown == 'Invalid value: {"a":"2","b":"1"}: no'
    selector = {"matchLabels": labels, "matchExpressions": []}
    shown = f.invalid("spec.selector", selector, "no").body()
    assert shown == 'Invalid value: {"matchLabels":{"a":"2","b":"1"},"matchExpressions":[]}: no'
    assert f.go_json({"Requests": labels, "Claims": None}) == '{"Requests":{"a":"2","b":"1"},"Claims":null}'
