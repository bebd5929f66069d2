import json

import pytest

from pilothouse.api.resources import Resource
from pilothouse.apiserver.storage import keys
from pilothouse.apiserver.storage.item import Item, encode

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "spec": {"nodeName": "n"},
    "metadata": {"name": "a", "labels": {"x": "y"}},
}


def _resource(group: str, plural: str, kind: str = "X") -> Resource:
    return Resource(group, "v1", plural, kind)


@pytest.mark.parametrize(
    ("group", "plural", "custom", "prefix"),
    [
        ("", "pods", False, "/registry/pods/"),
        ("", "nodes", False, "/registry/minions/"),
        ("", "services", False, "/registry/services/specs/"),
        ("", "endpoints", False, "/registry/services/endpoints/"),
        ("", "replicationcontrollers", False, "/registry/controllers/"),
        ("", "events", False, "/registry/events/"),
        ("events.k8s.io", "events", False, "/registry/events/"),
        ("apps", "deployments", False, "/registry/deployments/"),
        ("networking.k8s.io", "ingresses", False, "/registry/ingress/"),
        ("networking.k8s.io", "ingressclasses", False, "/registry/ingressclasses/"),
        ("coordination.k8s.io", "leases", False, "/registry/leases/"),
        (
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            False,
            "/registry/apiextensions.k8s.io/customresourcedefinitions/",
        ),
        ("apiregistration.k8s.io", "apiservices", False, "/registry/apiregistration.k8s.io/apiservices/"),
        ("example.com", "widgets", True, "/registry/example.com/widgets/"),
    ],
)
def test_keys_are_upstreams(group: str, plural: str, custom: bool, prefix: str) -> None:
    assert keys.prefix(_resource(group, plural), custom=custom) == prefix


def test_stored_without_and_served_with_its_revision() -> None:
    value = encode({**POD, "metadata": {**POD["metadata"], "resourceVersion": "3"}})
    assert value.startswith(b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"')
    assert b"resourceVersion" not in value
    item = Item(b"/registry/pods/default/a", 7, value)
    assert item.raw.startswith(
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"a"'
    )
    assert item.raw.endswith(b"}\n")
    assert json.loads(item.raw) == item.obj
    assert item.obj is item.obj
    assert item.list_raw.startswith(b'{"metadata":{"resourceVersion":"7","name":"a"')
    assert json.loads(item.list_raw) == {k: v for k, v in item.obj.items() if k not in ("kind", "apiVersion")}
    assert item.labels == {"x": "y"}


@pytest.mark.parametrize(
    "value",
    [
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"x":"y"},"name":"a"},"spec":{"nodeName":"n"}}',
        b'{"kind":"Pod","apiVersion":"v1","spec":{"nodeName":"n"},"metadata":{"name":"a","labels":{"x":"y"}}}',
        b'{"kind": "Pod", "apiVersion": "v1", "metadata": {"name":"a","labels":{"x":"y"}},"spec":{"nodeName":"n"}}',
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"2","name":"a","labels":{"x":"y"}},'
        b'"spec":{"nodeName":"n"}}',
    ],
)
def test_values_that_others_wrote(value: bytes) -> None:
    item = Item(b"/registry/pods/default/a", 7, value)
    assert json.loads(item.raw) == {**POD, "metadata": {**POD["metadata"], "resourceVersion": "7"}}
    assert "kind" not in json.loads(item.list_raw)


def test_a_field_that_looks_like_metadata_is_left_alone() -> None:
    value = b'{"apiVersion":"g/v1","alpha":{"metadata":{"x":1}},"kind":"W","metadata":{"name":"a"}}'
    served = json.loads(Item(b"k", 7, value).document)
    assert served["alpha"] == {"metadata": {"x": 1}}
    assert served["metadata"] == {"name": "a", "resourceVersion": "7"}


def test_a_new_items_object_learns_its_revision() -> None:
    obj = {**POD, "metadata": dict(POD["metadata"])}
    item = Item(b"k", 0, encode(obj), obj)
    item.stored_at(9)
    assert item.obj is obj
    assert obj["metadata"]["resourceVersion"] == "9"
    item.forget_object()
    assert item.obj == obj


def test_an_item_holds_its_state_in_any_order_of_keys_and_no_other() -> None:
    value = encode(POD)
    item = Item(b"/registry/pods/default/a", 3, value)
    reordered = {**POD, "metadata": {"labels": {"x": "y"}, "name": "a"}}
    assert item.holds(value)
    assert item.holds(json.dumps(reordered, separators=(",", ":")).encode())
    assert not item.holds(encode({**POD, "spec": {"nodeName": "m"}}))
    timed = Item(b"/registry/pods/default/a", 3, encode({**POD, "spec": {"time": "10:00"}}))
    assert not timed.holds(encode({**POD, "spec": {"time": "10:07"}}))
    assert not timed.holds(encode({**POD, "spec": {"time": "01:00"}}))
