"""Certificates and keys that do not fit together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from pilothouse.api.validation.tls_pairs import fault

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
START = datetime(2026, 1, 1, tzinfo=UTC)
CERTIFICATE = (
    x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 1, START, START + timedelta(days=1))
    .sign(KEY, hashes.SHA256())
    .public_bytes(serialization.Encoding.PEM)
)


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_pair_that_fits() -> None:
    assert fault(CERTIFICATE, pem(KEY)) == ""


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        (b"x", pem(KEY), "tls: failed to find any PEM data in certificate input"),
        (CERTIFICATE, b"", "tls: failed to find any PEM data in key input"),
        (
            pem(KEY),
            CERTIFICATE,
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may "
            "have been switched",
        ),
        (
            CERTIFICATE,
            CERTIFICATE,
            "tls: found a certificate rather than a key in the PEM for the private key",
        ),
        (
            CERTIFICATE.replace(b"CERTIFICATE", b"OTHER"),
            pem(KEY),
            'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the '
            "following types: [OTHER]",
        ),
        (
            CERTIFICATE,
            pem(ec.generate_private_key(ec.SECP256R1())),
            "tls: private key does not match public key",
        ),
        (
            CERTIFICATE,
            pem(rsa.generate_private_key(65537, 2048)),
            "tls: private key type does not match public key type",
        ),
    ],
)
def test_a_pair_that_does_not(certificate: bytes, key: bytes, why: str) -> None:
    assert fault(certificate, key) == why
