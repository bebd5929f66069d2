"""Keys that sign and check service-account tokens."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pilothouse.kit.certificates import PrivateKey, key_pem, private_key
from pilothouse.kit.files import write_private

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)


def signing_key(path: Path) -> PrivateKey:
    """The service accounts' signing key, made when it is missing."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, key_pem(ec.generate_private_key(ec.SECP256R1())))
    return private_key(path)


def public_keys(path: Path) -> list[PublicKey]:
    """The public keys of a PEM file that holds public keys, private keys or certificates."""
    found: list[PublicKey] = []
    for block in (match[0] for match in _PEM.finditer(path.read_bytes())):
        public = _public(block)
        if not isinstance(public, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey)):
            raise ValueError(f"{path} holds a key that is neither ECDSA nor RSA")
        found.append(public)
    if not found:
        raise ValueError(f"{path} holds no key in PEM")
    return found


def _public(block: bytes) -> object:
    if b"CERTIFICATE" in block:
        return x509.load_pem_x509_certificate(block).public_key()
    if b"PRIVATE KEY" in block:
        return serialization.load_pem_private_key(block, None).public_key()
    return serialization.load_pem_public_key(block)
