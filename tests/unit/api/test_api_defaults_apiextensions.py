"""Defaults of definitions (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.defaults.apiextensions import custom_resource_definition

Obj = dict[str, Any]


def defaulted(spec: Obj, status: Obj | None = None) -> Obj:
    obj: Obj = {"metadata": {}, "spec": {"names": {"kind": "", "plural": ""}, **spec}, "status": status or {}}
    custom_resource_definition(obj)
    return obj


@pytest.mark.parametrize(
    ("names", "singular", "list_kind"),
    [
        ({"kind": "Thing"}, "thing", "ThingList"),
        ({"kind": "Thing", "singular": "one", "listKind": "Many"}, "one", "Many"),
        ({"kind": ""}, None, None),
    ],
)
def test_names_follow_from_the_kind(names: Obj, singular: str | None, list_kind: str | None) -> None:
    found = defaulted({"names": names})["spec"]["names"]
    assert (found.get("singular"), found.get("listKind")) == (singular, list_kind)


def test_there_is_always_a_conversion() -> None:
    assert defaulted({})["spec"]["conversion"] == {"strategy": "None"}
    service = {"name": "s", "namespace": "n"}
    webhook = {"strategy": "Webhook", "webhook": {"clientConfig": {"service": service}}}
    found = defaulted({"conversion": webhook})["spec"]["conversion"]
    assert found["webhook"]["clientConfig"]["service"]["port"] == 443


def test_the_storage_version_is_stored() -> None:
    versions = [{"name": "v1"}, {"name": "v2", "storage": True}, {"name": "v3", "storage": True}]
    assert defaulted({"versions": versions})["status"]["storedVersions"] == ["v2"]
    kept = defaulted({"versions": versions}, {"storedVersions": ["v1"]})
    assert kept["status"]["storedVersions"] == ["v1"]
    assert "storedVersions" not in defaulted({"versions": [{"name": "v1"}]})["status"]
