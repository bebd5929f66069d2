"""What the signers of Kubernetes demand, and what they sign
(https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers,
pkg/apis/certificates/helpers.go, pkg/controller/certificates/authority)."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.controllers import certificate_requests as requests
from pilothouse.controllers.certificate_authority import CannotSign, CertificateAuthority
from tests.unit.controllers.certificate_builders import NODE, NODE_USAGES, NOW, authority, csr, write_ca

SERVING = ("digital signature", "key encipherment", "server auth")


def refusal(signer: str, usages: tuple[str, ...], **request: Any) -> str:
    """Why a signer does not sign, or ""."""
    found = csr("x", signer, usages, **request)
    try:
        requests.CHECKS[found["spec"]["signerName"]](requests.read(found), usages)
    except requests.RequestRefused as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("usages", "why"),
    [
        (("client auth",), ""),
        (("client auth", "digital signature", "key encipherment"), ""),
        (("client auth", "server auth"), "invalid usage for client certificate: server auth"),
        (("digital signature",), "missing required usage for client certificate: client auth"),
    ],
)
def test_clients_of_the_api_server(usages: tuple[str, ...], why: str) -> None:
    """Any subject and any alternative names: usages alone are held to a rule."""
    assert refusal("kube-apiserver-client", usages, dns=["a.example"], ips=["10.0.0.1"]) == why


CLIENT_USAGES = "usages did not match [client auth digital signature key encipherment]"
SERVING_USAGES = "usages did not match [digital signature key encipherment server auth]"
NO_ORGANIZATION = "subject organization is not system:nodes"
NO_NODE = "subject common name does not begin with system:node:"


@pytest.mark.parametrize(
    ("change", "usages", "why"),
    [
        ({}, NODE_USAGES, ""),
        ({}, (*NODE_USAGES, "key encipherment"), ""),
        ({}, ("client auth",), CLIENT_USAGES),
        ({}, (*NODE_USAGES, "server auth"), CLIENT_USAGES),
        ({"organizations": ()}, NODE_USAGES, NO_ORGANIZATION),
        ({"organizations": ("system:nodes", "more")}, NODE_USAGES, NO_ORGANIZATION),
        ({"common_name": "n1"}, ("client auth",), NO_NODE),
        ({"dns": ["n1"], "ips": ["10.0.0.1"]}, NODE_USAGES, "DNS subjectAltNames are not allowed"),
        ({"emails": ["a@b.c"], "ips": ["10.0.0.1"]}, NODE_USAGES, "Email subjectAltNames are not allowed"),
        ({"ips": ["10.0.0.1"], "uris": ["a:b"]}, NODE_USAGES, "IP subjectAltNames are not allowed"),
        ({"uris": ["spiffe://a/b"]}, NODE_USAGES, "URI subjectAltNames are not allowed"),
    ],
)
def test_clients_that_are_kubelets(change: dict[str, Any], usages: tuple[str, ...], why: str) -> None:
    assert refusal("kube-apiserver-client-kubelet", usages, **{**NODE, **change}) == why


@pytest.mark.parametrize(
    ("change", "usages", "why"),
    [
        ({"dns": ["n1"]}, SERVING, ""),
        ({"ips": ["10.0.0.1"]}, ("digital signature", "server auth"), ""),
        ({}, SERVING, "DNS or IP subjectAltName is required"),
        ({"dns": ["n1"], "emails": ["a@b.c"]}, SERVING, "Email subjectAltNames are not allowed"),
        ({"dns": ["n1"], "uris": ["a:b"]}, SERVING, "URI subjectAltNames are not allowed"),
        ({"dns": ["n1"]}, NODE_USAGES, SERVING_USAGES),
        ({"dns": ["n1"], "common_name": "n1"}, NODE_USAGES, SERVING_USAGES),
        ({"dns": ["n1"], "common_name": "n1"}, SERVING, NO_NODE),
        ({"dns": ["n1"], "organizations": ["x"]}, SERVING, NO_ORGANIZATION),
    ],
)
def test_kubelets_that_serve(change: dict[str, Any], usages: tuple[str, ...], why: str) -> None:
    assert refusal("kubelet-serving", usages, **{**NODE, **change}) == why


def test_the_legacy_signer_has_no_rules() -> None:
    assert refusal("legacy-unknown", ("code signing",), uris=["a:b"]) == ""


def sign(
    ca: CertificateAuthority,
    usages: tuple[str, ...] = ("client auth",),
    expiration_s: int | None = None,
    now: datetime = NOW,
    **request: Any,
) -> x509.Certificate:
    asked = requests.read(csr("x", "kube-apiserver-client", usages, **request))
    return ca.sign(asked, usages, expiration_s, now.timestamp())


@pytest.mark.parametrize(
    ("asked_s", "lasts"),
    [
        (None, timedelta(days=365) - timedelta(minutes=5)),
        (2 * 31_536_000, timedelta(days=365) - timedelta(minutes=5)),
        (8 * 3600, timedelta(hours=8) - timedelta(minutes=5)),
        (8 * 3600 - 1, timedelta(hours=8) - timedelta(seconds=1)),
        (3600, timedelta(hours=1)),
        (60, timedelta(minutes=10)),
    ],
)
def test_how_long_a_certificate_is_good(tmp_path: Path, asked_s: int | None, lasts: timedelta) -> None:
    """KEP-2784; it begins five minutes ago, and a long life ends five minutes sooner for that."""
    found = sign(authority(tmp_path), expiration_s=asked_s)
    assert found.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert found.not_valid_after_utc == NOW + lasts


def test_it_ends_with_its_ca_at_the_latest(tmp_path: Path) -> None:
    ca = authority(tmp_path, days=1)
    assert sign(ca).not_valid_after_utc == NOW + timedelta(days=1)
    end = "NotAfter=2026-03-02 12:00:00 +0000 UTC"
    with pytest.raises(CannotSign) as late:
        sign(ca, now=NOW + timedelta(days=1))
    assert str(late.value) == f"refusing to sign a certificate that expired in the past: {end}"
    with pytest.raises(CannotSign) as later:
        sign(ca, now=NOW + timedelta(days=2))
    assert str(later.value) == f"the signer has expired: {end}"


def test_what_is_in_it(tmp_path: Path) -> None:
    usages = ("client auth", "server auth", "digital signature", "s/mime", "email protection", "any")
    request = {"dns": ["b", "a"], "ips": ["10.0.0.1"], "emails": ["a@b.c"], "uris": ["a:b"]}
    attributes = [
        (NameOID.COMMON_NAME, "last"),
        (NameOID.DOMAIN_COMPONENT, "no"),
        (NameOID.COUNTRY_NAME, "DE"),
    ]
    found = sign(authority(tmp_path), usages, organizations=("b", "a"), attributes=attributes, **request)
    assert [(a.oid, a.value) for a in found.subject.rdns[0]] == [(NameOID.COUNTRY_NAME, "DE")]
    assert {a.value for a in found.subject.rdns[1]} == {"a", "b"}
    assert [a.value for a in found.subject.rdns[2]] == ["last"]
    assert len(found.subject.rdns) == 3
    assert 0 < found.serial_number < 2**128
    extensions = [(e.oid._name, e.critical) for e in found.extensions]
    assert extensions == [
        ("keyUsage", True),
        ("extendedKeyUsage", False),
        ("basicConstraints", True),
        ("authorityKeyIdentifier", False),
        ("subjectAltName", False),
    ]
    key_usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert key_usage.digital_signature and not key_usage.key_encipherment and not key_usage.key_cert_sign
    assert list(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ]
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(
        False, None
    )
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(n.value) for n in names] == ["b", "a", "a@b.c", "10.0.0.1", "a:b"]


def test_names_are_critical_where_there_is_no_subject(tmp_path: Path) -> None:
    found = sign(authority(tmp_path), common_name="", dns=["a"])
    assert found.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


@pytest.mark.parametrize(
    ("key", "digest"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "sha256"),
        (ec.generate_private_key(ec.SECP384R1()), "sha384"),
        (ec.generate_private_key(ec.SECP521R1()), "sha512"),
        (rsa.generate_private_key(65537, 2048), "sha256"),
    ],
)
def test_the_ca_may_have_any_usual_key(tmp_path: Path, key: Any, digest: str) -> None:
    found = sign(authority(tmp_path, key=key))
    own = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    found.verify_directly_issued_by(own)
    assert found.signature_hash_algorithm is not None and found.signature_hash_algorithm.name == digest


def test_a_ca_that_is_renewed_signs_from_then_on(tmp_path: Path) -> None:
    """While the new files are no CA, the old one goes on."""
    ca = authority(tmp_path)
    old, old_key = (tmp_path / "ca.crt").read_bytes(), (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.crt").write_text("half written")
    sign(ca).verify_directly_issued_by(x509.load_pem_x509_certificate(old))
    write_ca(tmp_path, NOW + timedelta(days=10))
    new = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    sign(ca).verify_directly_issued_by(new)
    assert old_key != (tmp_path / "ca.key").read_bytes()


def test_files_that_hold_no_ca_are_refused_at_once(tmp_path: Path) -> None:
    certificate, key = write_ca(tmp_path, NOW)
    certificate.write_bytes(certificate.read_bytes() * 2)
    with pytest.raises(ValueError, match="expected 1 certificate, found 2"):
        CertificateAuthority(certificate, key)
