"""What is wrong with a certificate and its key, in the words of Go's crypto/tls X509KeyPair. Upstream warns of it
when a TLS secret is written."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from pilothouse.api.validation.pem import pem_blocks

_CERTIFICATE = "CERTIFICATE"
_KEY = "PRIVATE KEY"


def fault(certificate: bytes, key: bytes) -> str:
    """The first thing that is wrong; "" for a pair that fits."""
    of_certificate, of_key = pem_blocks(certificate), pem_blocks(key)
    leaf = next((block for block in of_certificate if block.label == _CERTIFICATE), None)
    if leaf is None:
        return _no_certificate([block.label for block in of_certificate])
    private = next(
        (block for block in of_key if block.label == _KEY or block.label.endswith(f" {_KEY}")), None
    )
    if private is None:
        return _no_key([block.label for block in of_key])
    return _mismatch(leaf.data, private.data)


def _no_certificate(found: list[str]) -> str:
    if not found:
        return "tls: failed to find any PEM data in certificate input"
    if len(found) == 1 and found[0].endswith(_KEY):
        return (
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may "
            "have been switched"
        )
    return (
        'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the following '
        f"types: [{' '.join(found)}]"
    )


def _no_key(found: list[str]) -> str:
    if not found:
        return "tls: failed to find any PEM data in key input"
    if found == [_CERTIFICATE]:
        return "tls: found a certificate rather than a key in the PEM for the private key"
    return (
        'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of the '
        f"following types: [{' '.join(found)}]"
    )


def _mismatch(certificate: bytes, key: bytes) -> str:
    try:
        public = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "x509: malformed certificate"
    try:
        private = serialization.load_der_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "tls: failed to parse private key"
    own = private.public_key()
    if type(own) is not type(public):
        return "tls: private key type does not match public key type"
    return "" if own == public else "tls: private key does not match public key"
