"""Front proxies (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pilothouse.apiserver.authn.request_header import RequestHeader, RequestHeaders
from pilothouse.apiserver.bootstrap.objects import joined_data
from pilothouse.kit.certificates import Authority
from pilothouse.kit.world import World
from tests.served import api

REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def der(authority: Authority, name: str) -> bytes:
    pair = authority.client(name, name)
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).public_bytes(Encoding.DER)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, World(), "front-proxy-ca", "front-proxy-ca")


def proxies(authority: Authority, **names: Any) -> RequestHeader:
    return RequestHeader(World(), [authority.certificate], RequestHeaders(**names))


HEADERS = {
    "x-remote-user": "ann",
    "x-remote-uid": "7",
    "x-remote-group": "a, b\nc",
    "x-remote-extra-example.com%2frole": "x\ny",
}


def test_a_front_proxy_says_who_asks(authority: Authority) -> None:
    user = proxies(authority).authenticate(der(authority, "front-proxy-client"), HEADERS)
    assert user is not None
    assert (user.name, user.uid, user.groups) == ("ann", "", ("a, b", "c"))
    assert user.extra == {"example.com/role": ("x", "y")}


def test_uids_are_believed_when_a_header_is_named(authority: Authority) -> None:
    user = proxies(authority, uid=("X-Remote-Uid",)).authenticate(
        der(authority, "front-proxy-client"), HEADERS
    )
    assert user is not None and user.uid == "7"


def test_other_names_are_no_front_proxies(authority: Authority) -> None:
    other = der(authority, "other")
    assert proxies(authority).authenticate(other, HEADERS) is None
    assert proxies(authority, allowed_names=()).authenticate(other, HEADERS) is not None


def test_other_authorities_make_no_front_proxies(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger", World())
    assert proxies(authority).authenticate(der(stranger, "front-proxy-client"), HEADERS) is None


def test_the_servers_own_front_proxy_is_believed_and_is_nobody_itself() -> None:
    with api() as server:
        own = Authority(server.served.directory / "pki", World(), "front-proxy-ca")
        certificate = der(own, "front-proxy-client")
        told = {"x-remote-user": "ann", "x-remote-group": "gardeners"}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        found = server.ask("POST", REVIEW, body, user=None, peer_certificate=certificate, **told)
        assert found.status == 201
        assert found.body["status"]["userInfo"] == {
            "username": "ann",
            "groups": ["gardeners", "system:authenticated"],
        }
        assert server.ask("POST", REVIEW, body, user=None, peer_certificate=certificate).status == 401
        plain = der(server.served.authority, "front-proxy-client")
        found = server.ask("POST", REVIEW, body, user=None, peer_certificate=plain, **told)
        assert found.body["status"]["userInfo"]["username"] == "front-proxy-client"


def test_extension_servers_are_told_of_front_proxies() -> None:
    with api() as server:
        path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
        data = server.ask("GET", path).body["data"]
        assert data["requestheader-client-ca-file"].startswith("-----BEGIN CERTIFICATE-----")
        assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
        assert data["requestheader-username-headers"] == '["X-Remote-User"]'
        assert data["requestheader-group-headers"] == '["X-Remote-Group"]'
        assert data["requestheader-extra-headers-prefix"] == '["X-Remote-Extra-"]'


def test_what_several_servers_say_is_joined() -> None:
    a, b = (f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in "ab")
    known = {
        "client-ca-file": "c",
        "requestheader-client-ca-file": a,
        "requestheader-allowed-names": '["a"]',
    }
    own = {
        "client-ca-file": "d",
        "requestheader-client-ca-file": a + b,
        "requestheader-allowed-names": '["b","a"]',
    }
    assert joined_data(known, own) == {
        "client-ca-file": "c",
        "requestheader-client-ca-file": a + b,
        "requestheader-allowed-names": '["a","b"]',
    }
    assert joined_data(joined_data(known, own), own) == joined_data(known, own)
