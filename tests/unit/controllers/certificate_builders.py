"""Requests for certificates, and CAs to sign them."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilothouse.api.types import Obj
from pilothouse.controllers.certificate_authority import CertificateAuthority

KEY = ec.generate_private_key(ec.SECP256R1())
NODE_USAGES = ("digital signature", "client auth")
NODE = {"common_name": "system:node:n1", "organizations": ("system:nodes",)}


def pkcs10(
    common_name: str = "carol",
    organizations: Iterable[str] = (),
    dns: Iterable[str] = (),
    ips: Iterable[str] = (),
    emails: Iterable[str] = (),
    uris: Iterable[str] = (),
    attributes: Iterable[tuple[x509.ObjectIdentifier, str]] = (),
) -> str:
    """The value of spec.request."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    subject += [x509.NameAttribute(oid, value) for oid, value in attributes]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(u) for u in uris]
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
    names += [x509.RFC822Name(e) for e in emails]
    names += [x509.DNSName(d) for d in dns]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(KEY, hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def csr(
    name: str, signer: str, usages: Iterable[str], expiration_s: int | None = None, **request: Any
) -> Obj:
    spec: Obj = {
        "request": pkcs10(**request),
        "signerName": f"kubernetes.io/{signer}" if "/" not in signer else signer,
        "usages": list(usages),
    }
    if expiration_s is not None:
        spec["expirationSeconds"] = expiration_s
    return {"metadata": {"name": name}, "spec": spec}


def issued(obj: Obj) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(obj["status"]["certificate"]))


def write_ca(folder: Path, not_after: datetime, key: Any = None, name: str = "ca") -> tuple[Path, Path]:
    """A CA's two files."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(not_after - timedelta(days=3650))
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(b"own id"), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.crt", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def authority(folder: Path, days: float = 3650, **more: Any) -> CertificateAuthority:
    """A CA that is good for so many days from NOW on."""
    duration_s = more.pop("duration_s", 31_536_000.0)
    return CertificateAuthority(*write_ca(folder, NOW + timedelta(days=days), **more), duration_s)
