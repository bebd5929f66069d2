"""Client certificates: the common name is the user, the organizations are the groups
(https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates)."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.apiserver.request import UserInfo
from pilothouse.kit.world import World

_CACHE_MAX = 1024


class ClientCertificates:
    """Certificates signed by one of the client CAs, valid now, meant for clients."""

    def __init__(self, world: World, authorities: list[x509.Certificate]) -> None:
        self._world = world
        self._authorities = authorities
        self._known: OrderedDict[bytes, tuple[UserInfo, float, float]] = OrderedDict()

    def authenticate(self, der: bytes) -> UserInfo | None:
        known = self._known.get(der)
        if known is None:
            checked = self._check(der)
            if checked is None:
                return None
            known = self._known[der] = checked
            if len(self._known) > _CACHE_MAX:
                self._known.popitem(last=False)
        user, not_before, not_after = known
        return user if not_before <= self._world.now() <= not_after else None

    def _check(self, der: bytes) -> tuple[UserInfo, float, float] | None:
        try:
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            return None
        if not self._is_signed(certificate) or not _is_for_clients(certificate):
            return None
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if not names or not names[-1].value:
            return None
        groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        fingerprint = (
            certificate.fingerprint(certificate.signature_hash_algorithm).hex()
            if (certificate.signature_hash_algorithm is not None)
            else ""
        )
        user = UserInfo(
            str(names[-1].value),  # of several the last counts, as in Go's pkix.Name
            "",
            tuple(str(g.value) for g in groups),
            {"authentication.kubernetes.io/credential-id": (f"X509SHA256={fingerprint}",)},
        )
        return user, _unix(certificate.not_valid_before_utc), _unix(certificate.not_valid_after_utc)

    def _is_signed(self, certificate: x509.Certificate) -> bool:
        for authority in self._authorities:
            if certificate.issuer != authority.subject:
                continue
            try:
                certificate.verify_directly_issued_by(authority)
            except (InvalidSignature, ValueError, TypeError):
                continue
            return True
        return False


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage


def _unix(moment: datetime) -> float:
    return moment.astimezone(UTC).timestamp()
