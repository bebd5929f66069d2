"""A CA and what it signs: the cluster's, and those of its parts.

ECDSA P-256: a key takes a tenth of a millisecond, an RSA key a hundred."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.kit.files import write_private
from pilothouse.kit.world import World

CA_DAYS = 3650
LEAF_DAYS = 365
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_SERVER = ExtendedKeyUsageOID.SERVER_AUTH
_CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
_RENEW_BEFORE = timedelta(days=30)
_BACKDATE = timedelta(minutes=5)
"""Certificates are valid a little before they are made: clocks differ."""
_CA_BACKDATE = timedelta(days=2)
"""The CA stays when a clock is set back; leaves are made anew."""


class KeyPair(NamedTuple):
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A CA in a directory (0700). Made when it is missing."""

    def __init__(
        self, directory: Path, world: World, name: str = "ca", common_name: str = "kubernetes"
    ) -> None:
        self._directory = directory
        self._world = world
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.files = KeyPair(directory / f"{name}.crt", directory / f"{name}.key")
        if not (self.files.key.exists() and self.files.certificate.exists()):
            # The certificate is written last: without it nobody has seen the key.
            self._make(common_name)
        self.certificate = x509.load_pem_x509_certificate(self.files.certificate.read_bytes())
        key = serialization.load_pem_private_key(self.files.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    @property
    def pem(self) -> str:
        return self.files.certificate.read_text()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._world.now(), UTC)

    def _make(self, common_name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        now = self._now()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CA_BACKDATE)
            .not_valid_after(now + timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(_key_usage(sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(self.files.key, key_pem(key))
        write_private(self.files.certificate, certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str, hosts: Iterable[str], directory: Path | None = None) -> KeyPair:
        """A serving certificate for host names and addresses; kept while it covers them and is fresh. `directory`
        is where to keep it, if not beside the CA."""
        wanted = list(dict.fromkeys(hosts))
        return self._leaf(name, "kube-apiserver", (), [_SERVER], wanted, directory)

    def peer(self, name: str, common_name: str, hosts: Iterable[str], directory: Path) -> KeyPair:
        """A certificate for one that serves and calls others of its kind."""
        wanted = list(dict.fromkeys(hosts))
        return self._leaf(name, common_name, (), [_SERVER, _CLIENT], wanted, directory)

    def client(self, name: str, user: str, groups: Iterable[str] = ()) -> KeyPair:
        """A client certificate: common name is the user, organizations are the groups."""
        return self._leaf(name, user, tuple(groups), [_CLIENT], [])

    def _leaf(
        self,
        name: str,
        common_name: str,
        groups: tuple[str, ...],
        usages: list[x509.ObjectIdentifier],
        hosts: list[str],
        directory: Path | None = None,
    ) -> KeyPair:
        directory = directory or self._directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = KeyPair(directory / f"{name}.crt", directory / f"{name}.key")
        if files.key.exists() and files.certificate.exists() and self._is_good(files, hosts):
            return files
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        now = self._now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + timedelta(days=LEAF_DAYS))
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(_key_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(h) for h in hosts]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        write_private(files.key, key_pem(key))
        write_private(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        return files

    def _is_good(self, files: KeyPair, hosts: list[str]) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
            if certificate.public_key() != private_key(files.key).public_key():
                return False  # the process ended between the two files
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        if (
            not certificate.not_valid_before_utc
            <= self._now()
            < certificate.not_valid_after_utc - _RENEW_BEFORE
        ):
            return False
        if not hosts:
            return True
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return False
        covered = {str(n.value) for n in names}
        return covered >= set(hosts)


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8 without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def private_key(path: Path) -> PrivateKey:
    """An ECDSA or RSA key of a PEM file. ValueError if it holds none."""
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no private key in PEM without a password: {error}") from None
    if not isinstance(found, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise ValueError(f"{path} holds a key that is neither ECDSA nor RSA")
    return found
