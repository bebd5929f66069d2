"""Volumes of pods and persistent volumes that are seldom seen."""

from __future__ import annotations

import pytest

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import claims, persistent_volumes
from pilothouse.api.validation.pods import volumes

IQN = "must be valid format starting with iqn, eui, or naa"
PAIRS = "must be a host:port pair or multiple pairs separated by commas"


def found(key: str, source: Obj, sources: object = None) -> list[tuple[str, str]]:
    out: f.Errors = []
    checks = persistent_volumes.SOURCES if sources == "persistent" else volumes.SOURCES
    checks[key](source, "v", out)
    return [(e.field, e.detail) for e in out]


@pytest.mark.parametrize(
    ("key", "source", "errors"),
    [
        ("nfs", {"server": "s"}, [("v.path", ""), ("v.path", "must be an absolute path")]),
        (
            "iscsi",
            {"targetPortal": "p", "iqn": "x", "initiatorName": "y"},
            [("v.iqn", IQN), ("v.initiatorname", IQN)],
        ),
        (
            "flocker",
            {"datasetName": "a", "datasetUUID": "b"},
            [("v", "datasetName and datasetUUID can not be specified simultaneously")],
        ),
        (
            "flexVolume",
            {"driver": "d", "options": {"kubernetes.io/x": "y"}},
            [("v.options[kubernetes.io/x]", "kubernetes.io and k8s.io namespaces are reserved")],
        ),
        ("quobyte", {}, [("v.registry", PAIRS), ("v.volume", "")]),
        ("quobyte", {"volume": "v", "registry": "a,[::1]:2,c:d:e"}, [("v.registry", PAIRS)] * 2),
        (
            "quobyte",
            {"volume": "v", "registry": "a:1", "tenant": "x" * 65},
            [("v.tenant", "must be a UUID and may not exceed a length of 64 characters")],
        ),
        (
            "azureDisk",
            {"diskName": "d", "diskURI": "x", "kind": "Managed"},
            [
                (
                    "v.diskURI",
                    'supported values: "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/'
                    'microsoft.compute/disks/{disk-id}"',
                )
            ],
        ),
        ("azureDisk", {"diskName": "d", "diskURI": "https://x", "kind": "Shared"}, []),
        ("storageos", {"volumeName": "v", "secretRef": {}}, [("v.secretRef.name", "")]),
    ],
)
def test_sources(key: str, source: Obj, errors: list[tuple[str, str]]) -> None:
    assert found(key, source) == errors


def test_persistent_iscsi_says_less_of_names() -> None:
    source = {"targetPortal": "p", "iqn": "x", "initiatorName": "y", "secretRef": {}}
    why = "must be valid format"
    errors = [("v.iqn", why), ("v.secretRef.name", ""), ("v.initiatorname", why)]
    assert found("iscsi", source, "persistent") == errors


def test_projected_trust_bundles() -> None:
    selector = {"matchLabels": {"a": "b"}}
    sources: list[Obj] = [
        {"path": "a", "name": "x", "signerName": "y"},
        {"path": "b", "name": "a:b", "labelSelector": selector},
        {"path": "c", "name": "example.com:sign:er"},
    ]
    at = "v.sources[{}].clusterTrustBundlePEM"
    assert found("projected", {"sources": [{"clusterTrustBundle": s} for s in sources]}) == [
        (at.format(0), "only one of name and signerName may be used"),
        (
            at.format(1) + ".name",
            'not a valid clustertrustbundlename: ClusterTrustBundle without signer name must not have ":" in '
            "its name",
        ),
        (at.format(1) + ".labelSelector", "labelSelector must be unset if name is specified"),
    ]


def volume(**spec: object) -> Obj:
    return {
        "metadata": {"name": "pv"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **spec},
    }


def test_a_persistent_iscsi_portal_and_the_name_are_not_too_long_together() -> None:
    source = {"targetPortal": "x" * 70, "iqn": "iqn.2015-02.io.e:t", "initiatorName": "iqn.2015-02.io.e:t"}
    found = persistent_volumes.persistent_volume(volume(iscsi=source))
    assert [(e.field, e.detail) for e in found] == [
        (
            "spec.iscsi.targetportal",
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if "
            "iscsi.initiatorName is specified.",
        )
    ]


def test_capacity_is_shown_in_gos_order() -> None:
    obj = volume(capacity={"storage": "1", "cpu": "1"}, hostPath={"path": "/a"})
    (error,) = persistent_volumes.persistent_volume(obj)
    assert error.body() == 'Unsupported value: {"cpu":"1","storage":"1"}: supported values: "storage"'


@pytest.mark.parametrize(
    ("reference", "errors"),
    [
        ({"kind": "PersistentVolumeClaim", "name": "a"}, []),
        ({"kind": "PersistentVolumeClaim", "name": "b"}, ["Invalid value: {}: must match dataSourceRef"]),
        (
            {"kind": "PersistentVolumeClaim", "name": "a", "namespace": "n"},
            ["Invalid value: {}: may not be specified when dataSourceRef.namespace is specified"],
        ),
    ],
)
def test_the_two_sources_of_a_claim_agree(reference: Obj, errors: list[str]) -> None:
    out: f.Errors = []
    spec: Obj = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1"}},
        "dataSource": {"kind": "PersistentVolumeClaim", "name": "a"},
        "dataSourceRef": reference,
    }
    claims.claim_spec(spec, "spec", out)
    assert [e.body() for e in out] == errors
