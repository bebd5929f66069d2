"""A CA that signs what was approved (pkg/controller/certificates/authority, signer/ca_provider.go).

    not before   5 minutes ago: clocks differ
    not after    now + life - 5 minutes; now + life for a life of less than 8 hours; never after the CA's own end
    content      subject, names and key of the request; the usages that it asked for; no CA

The two files are looked at each time, so that a CA can be renewed under a running controller; while they do not hold
one, the last that they held signs.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from pilothouse.controllers.certificate_requests import Asked, alternative_names
from pilothouse.kit.certificates import PrivateKey, private_key

log = logging.getLogger(__name__)

DURATION_S = 31_536_000.0
"""--cluster-signing-duration: a year."""
_BACKDATE = timedelta(minutes=5)
_SHORT = timedelta(hours=8)
_DURATION_S_MIN = 600.0

_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft sgc": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": ObjectIdentifier("2.16.840.1.113730.4.1"),
}
"""In the order of a certificate that upstream signs (Go's x509.ExtKeyUsage)."""
_SUBJECT = (
    NameOID.COUNTRY_NAME,
    NameOID.ORGANIZATION_NAME,
    NameOID.ORGANIZATIONAL_UNIT_NAME,
    NameOID.LOCALITY_NAME,
    NameOID.STATE_OR_PROVINCE_NAME,
    NameOID.STREET_ADDRESS,
    NameOID.POSTAL_CODE,
    NameOID.COMMON_NAME,
    NameOID.SERIAL_NUMBER,
)
"""What of a subject comes into the certificate, in this order (Go's pkix.Name)."""
_SINGLE = (NameOID.COMMON_NAME, NameOID.SERIAL_NUMBER)
_GO_TIME = "%Y-%m-%d %H:%M:%S +0000 UTC"


class CannotSign(Exception):
    """The CA is of no use now; the text is upstream's."""


@dataclass(frozen=True, slots=True)
class _Pair:
    certificate: x509.Certificate
    key: PrivateKey


class CertificateAuthority:
    """`certificate` and `key` are PEM files. ValueError or OSError when they do not hold a CA at the start."""

    def __init__(self, certificate: Path, key: Path, duration_s: float = DURATION_S) -> None:
        self._files = (certificate, key)
        self._duration_s = duration_s
        self._content = self._read()
        self._pair = self._parse()

    def _read(self) -> tuple[bytes, bytes]:
        certificate, key = self._files
        return certificate.read_bytes(), key.read_bytes()

    def _parse(self) -> _Pair:
        certificate, key = self._files
        try:
            found = x509.load_pem_x509_certificates(self._content[0])
        except ValueError as error:
            raise ValueError(f'error reading CA cert file "{certificate}": {error}') from None
        if len(found) != 1:
            raise ValueError(
                f'error reading CA cert file "{certificate}": expected 1 certificate, found {len(found)}'
            )
        return _Pair(found[0], private_key(key))

    def _current(self) -> _Pair:
        before = self._content
        try:
            self._content = self._read()
            if self._content != before:
                self._pair = self._parse()
        except (OSError, ValueError) as error:
            self._content = before
            log.warning("the signing CA is used as it was: %s", error)
        return self._pair

    def sign(
        self, asked: Asked, usages: Collection[str], expiration_s: int | None, now_s: float
    ) -> x509.Certificate:
        """A certificate for an approved request. CannotSign when the CA's own time is over."""
        pair = self._current()
        now = datetime.fromtimestamp(int(now_s), UTC)
        not_after = self._not_after(pair.certificate, expiration_s, now)
        builder = (
            x509.CertificateBuilder()
            .serial_number(secrets.randbits(128) or 1)
            .issuer_name(pair.certificate.subject)
            .subject_name(_subject(asked))
            .public_key(asked.pkcs10.public_key())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(not_after)
        )
        return _extended(builder, asked, usages, pair.certificate).sign(pair.key, _digest(pair.key))

    def _not_after(self, own: x509.Certificate, expiration_s: int | None, now: datetime) -> datetime:
        end = own.not_valid_after_utc
        if now - _BACKDATE >= end:
            raise CannotSign(f"the signer has expired: NotAfter={end.strftime(_GO_TIME)}")
        if now >= end:
            raise CannotSign(
                f"refusing to sign a certificate that expired in the past: NotAfter={end.strftime(_GO_TIME)}"
            )
        life = timedelta(seconds=self.life_s(expiration_s))
        return min(now + life - (_BACKDATE if life >= _SHORT else timedelta()), end)

    def life_s(self, expiration_s: int | None) -> float:
        """What was asked for, within ten minutes and the signer's own duration."""
        if expiration_s is None or expiration_s > self._duration_s:
            return self._duration_s
        return max(float(expiration_s), _DURATION_S_MIN)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _subject(asked: Asked) -> x509.Name:
    """The attributes that upstream knows, the values of each together."""
    parts = []
    for oid in _SUBJECT:
        found = asked.pkcs10.subject.get_attributes_for_oid(oid)
        if oid in _SINGLE:
            found = found[-1:]
        if found and any(a.value for a in found):
            parts.append(x509.RelativeDistinguishedName(dict.fromkeys(found)))
    return x509.Name(parts)


def _extended(
    builder: x509.CertificateBuilder, asked: Asked, usages: Collection[str], own: x509.Certificate
) -> x509.CertificateBuilder:
    bits = {_KEY_USAGES[usage] for usage in usages if usage in _KEY_USAGES}
    if bits:
        builder = builder.add_extension(_key_usage(bits), critical=True)
    extended = list(dict.fromkeys(oid for usage, oid in _EXTENDED.items() if usage in usages))
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    own_id = _own_id(own)
    if own_id is not None:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(own_id, None, None), critical=False)
    names = _names(asked)
    if names:
        # Where there is no subject the names are all there is (RFC 5280, 4.2.1.6).
        is_all = not list(asked.pkcs10.subject)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=is_all)
    return builder


def _names(asked: Asked) -> list[x509.GeneralName]:
    found = alternative_names(asked.pkcs10)
    if found is None:
        return []
    kinds = (x509.DNSName, x509.RFC822Name, x509.IPAddress, x509.UniformResourceIdentifier)
    return [name for kind in kinds for name in found if isinstance(name, kind)]


def _own_id(own: x509.Certificate) -> bytes | None:
    try:
        return own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def _key_usage(bits: Collection[str]) -> x509.KeyUsage:
    only = {"encipher_only", "decipher_only"}
    # These two mean something beside key agreement alone (RFC 5280, 4.2.1.3).
    wanted = {*bits, "key_agreement"} if only & set(bits) else set(bits)
    return x509.KeyUsage(**{name: name in wanted for name in dict.fromkeys(_KEY_USAGES.values())})


def _digest(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """What Go signs with: SHA-256, and longer for longer curves."""
    curve = key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else ""
    if curve == "secp384r1":
        return hashes.SHA384()
    return hashes.SHA512() if curve == "secp521r1" else hashes.SHA256()
