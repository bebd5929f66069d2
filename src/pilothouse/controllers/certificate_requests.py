"""What a certificate signing request asks for, and what the signers of Kubernetes demand of it
(pkg/apis/certificates/helpers.go,
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers).

No rule here looks at the cluster: the PKCS#10 request and the usages decide.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from pilothouse.api.resources import CERTIFICATE_SIGNING_REQUESTS
from pilothouse.api.types import Obj
from pilothouse.controllers.pods import condition

API_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"

_NODES = "system:nodes"
_NODE_PREFIX = "system:node:"
_CLIENT_AUTH = "client auth"
_OPTIONAL = frozenset(("digital signature", "key encipherment"))
_KUBELET_CLIENT = (_OPTIONAL | {_CLIENT_AUTH}, frozenset(("digital signature", _CLIENT_AUTH)))
_KUBELET_SERVING = (_OPTIONAL | {"server auth"}, frozenset(("digital signature", "server auth")))
"""Usages of kubelets' certificates: those of RSA keys, and those of keys that encipher nothing."""


class RequestRefused(ValueError):
    """A signer does not sign this, ever; the text is what upstream writes into the condition Failed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read. `common_name` is the last of several, as in Go's pkix.Name."""

    pkcs10: x509.CertificateSigningRequest
    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    addresses: tuple[object, ...] = ()
    uris: tuple[str, ...] = ()


def read(csr: Obj) -> Asked:
    """What `spec.request` says. ValueError when it is no PKCS#10 request."""
    pkcs10 = x509.load_pem_x509_csr(base64.b64decode(csr["spec"]["request"]))
    names = alternative_names(pkcs10)
    of_type = names.get_values_for_type if names is not None else None
    return Asked(
        pkcs10,
        ([""] + [str(a.value) for a in pkcs10.subject.get_attributes_for_oid(NameOID.COMMON_NAME)])[-1],
        tuple(str(a.value) for a in pkcs10.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
        tuple(of_type(x509.DNSName)) if of_type else (),
        tuple(of_type(x509.RFC822Name)) if of_type else (),
        tuple(of_type(x509.IPAddress)) if of_type else (),
        tuple(of_type(x509.UniformResourceIdentifier)) if of_type else (),
    )


def alternative_names(pkcs10: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    try:
        return pkcs10.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def is_decided(csr: Obj) -> bool:
    return condition(csr, "Approved") is not None or condition(csr, "Denied") is not None


def is_approved(csr: Obj) -> bool:
    """Approved, and not denied as well (IsCertificateRequestApproved)."""
    return condition(csr, "Approved") is not None and condition(csr, "Denied") is None


def has_failed(csr: Obj) -> bool:
    found = condition(csr, "Failed")
    return found is not None and found.get("status") == "True"


def with_status(csr: Obj, **status: object) -> Obj:
    """The request with a changed status, ready to be sent."""
    kind = {
        "apiVersion": CERTIFICATE_SIGNING_REQUESTS.group_version,
        "kind": CERTIFICATE_SIGNING_REQUESTS.kind,
    }
    return {**csr, **kind, "status": {**(csr.get("status") or {}), **status}}


def with_condition(csr: Obj, kind: str, reason: str, message: str, **times: str) -> Obj:
    """The request with one condition more."""
    added = {"type": kind, "status": "True", "reason": reason, "message": message, **times}
    return with_status(csr, conditions=[*((csr.get("status") or {}).get("conditions") or ()), added])


def check_api_client(asked: Asked, usages: Collection[str]) -> None:
    """Any subject: who may approve it is a matter of RBAC, and admission keeps out system:masters."""
    for usage in usages:
        if usage != _CLIENT_AUTH and usage not in _OPTIONAL:
            raise RequestRefused(f"invalid usage for client certificate: {usage}")
    if _CLIENT_AUTH not in usages:
        raise RequestRefused(f"missing required usage for client certificate: {_CLIENT_AUTH}")


def check_kubelet_client(asked: Asked, usages: Collection[str]) -> None:
    """The credentials of one node, with no alternative names."""
    _check_organization(asked)
    for named, what in ((asked.dns_names, "DNS"), (asked.emails, "Email"), (asked.addresses, "IP")):
        if named:
            raise RequestRefused(f"{what} subjectAltNames are not allowed")
    _check_no_uris(asked)
    _check_common_name(asked)
    _check_usages(usages, _KUBELET_CLIENT)


def check_kubelet_serving(asked: Asked, usages: Collection[str]) -> None:
    """The serving certificate of one node: its host names or addresses are the approver's to check."""
    _check_organization(asked)
    if not asked.dns_names and not asked.addresses:
        raise RequestRefused("DNS or IP subjectAltName is required")
    if asked.emails:
        raise RequestRefused("Email subjectAltNames are not allowed")
    _check_no_uris(asked)
    _check_usages(usages, _KUBELET_SERVING)
    _check_common_name(asked)


def check_nothing(asked: Asked, usages: Collection[str]) -> None:
    """Of kubernetes.io/legacy-unknown, which never had rules."""


Check = Callable[[Asked, Collection[str]], None]
CHECKS: dict[str, Check] = {
    KUBELET_SERVING: check_kubelet_serving,
    KUBELET_CLIENT: check_kubelet_client,
    API_CLIENT: check_api_client,
    LEGACY_UNKNOWN: check_nothing,
}
"""By signer. A check raises RequestRefused."""


def is_kubelet_client(csr: Obj, asked: Asked) -> bool:
    """Whether it asks its signer for a node's credentials, and rightly."""
    if csr["spec"]["signerName"] != KUBELET_CLIENT:
        return False
    try:
        check_kubelet_client(asked, csr["spec"].get("usages") or ())
    except RequestRefused:
        return False
    return True


def _check_organization(asked: Asked) -> None:
    if asked.organizations != (_NODES,):
        raise RequestRefused("subject organization is not system:nodes")


def _check_common_name(asked: Asked) -> None:
    if not asked.common_name.startswith(_NODE_PREFIX):
        raise RequestRefused("subject common name does not begin with system:node:")


def _check_no_uris(asked: Asked) -> None:
    if asked.uris:
        raise RequestRefused("URI subjectAltNames are not allowed")


def _check_usages(usages: Collection[str], allowed: tuple[frozenset[str], ...]) -> None:
    if frozenset(usages) not in allowed:
        raise RequestRefused(f"usages did not match [{' '.join(sorted(allowed[0]))}]")
