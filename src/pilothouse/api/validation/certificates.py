"""Validation of the kinds in certificates.k8s.io (pkg/apis/certificates/validation).

An update is held only to what the stored object already kept: what is wrong in it may stay wrong.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import gotext, names
from pilothouse.api.validation.pem import PemBlock, pem_blocks

LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
EXPIRATION_SECONDS_MIN = 600
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign",
    "data encipherment", "decipher only", "digital signature", "email protection", "encipher only",
    "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc",
    "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping",
)  # fmt: skip
ONLY_TRUE = ("Approved", "Denied", "Failed")
"""Conditions that are there and true or not there."""
ALL_STATUSES = ("False", "True", "Unknown")


class _Tolerated(NamedTuple):
    """What was already wrong in the stored request, and therefore may be."""

    both_decisions: bool = False
    legacy_signer: bool = False
    duplicate_types: bool = False
    empty_type: bool = False
    any_certificate: bool = False
    duplicate_usages: bool = False
    unknown_usages: bool = False


def _tolerated(obj: Obj, old: Obj) -> _Tolerated:
    spec, status = old["spec"], old["status"]
    types = [condition.get("type", "") for condition in status.get("conditions") or ()]
    usages = spec.get("usages") or []
    certificate = status.get("certificate")
    return _Tolerated(
        both_decisions={"Approved", "Denied"} <= set(types),
        legacy_signer=spec.get("signerName") == LEGACY_SIGNER,
        duplicate_types=len(set(types)) < len(types),
        empty_type="" in types,
        any_certificate=obj["status"].get("certificate") == certificate
        or bool(_bad_certificate(certificate)),
        duplicate_usages=len(set(usages)) < len(usages),
        unknown_usages=not set(usages) <= set(USAGES),
    )


def certificate_signing_request(obj: Obj) -> f.Errors:
    return _request(obj, _Tolerated())


def _request(obj: Obj, tolerated: _Tolerated) -> f.Errors:
    spec, status = obj["spec"], obj["status"]
    errors: f.Errors = []
    why = _bad_request(spec.get("request"))
    if why:
        errors.append(f.invalid("spec.request", spec.get("request") or gotext.NULL, why))
    errors += _usages(spec.get("usages") or [], tolerated)
    signer = spec.get("signerName", "")
    if not tolerated.legacy_signer and signer == LEGACY_SIGNER:
        why = "the legacy signerName is not allowed via this API version"
        errors.append(f.invalid("spec.signerName", signer, why))
    else:
        errors += signer_name(signer, "spec.signerName")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < EXPIRATION_SECONDS_MIN:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(f.invalid("spec.expirationSeconds", seconds, why))
    errors += _conditions(status.get("conditions") or [], "status.conditions", tolerated)
    if not tolerated.any_certificate:
        why = _bad_certificate(status.get("certificate"))
        if why:
            errors.append(f.invalid("status.certificate", "<certificate data>", why))
    return errors


def _usages(usages: Sequence[str], tolerated: _Tolerated) -> f.Errors:
    errors: f.Errors = [] if usages else [f.required("spec.usages")]
    if not tolerated.unknown_usages:
        errors += [
            f.not_supported(f"spec.usages[{i}]", usage, USAGES)
            for i, usage in enumerate(usages)
            if usage not in USAGES
        ]
    if not tolerated.duplicate_usages:
        errors += [
            f.duplicate(f"spec.usages[{i}]", usage) for i, usage in enumerate(usages) if usage in usages[:i]
        ]
    return errors


def _conditions(conditions: Sequence[Obj], path: str, tolerated: _Tolerated) -> f.Errors:
    errors: f.Errors = []
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        kind, status = condition.get("type", ""), condition.get("status", "")
        at = f"{path}[{i}]"
        if not kind and not tolerated.empty_type:
            errors.append(f.required(f"{at}.type"))
        allowed = ("True",) if kind in ONLY_TRUE else ALL_STATUSES
        if not status:
            errors.append(f.required(f"{at}.status"))
        elif status not in allowed:
            errors.append(f.not_supported(f"{at}.status", status, allowed))
        other = {"Approved": "Denied", "Denied": "Approved"}.get(kind)
        if other in seen and not tolerated.both_decisions:
            why = "Approved and Denied conditions are mutually exclusive"
            errors.append(f.invalid(f"{at}.type", kind, why))
        if kind in seen and not tolerated.duplicate_types:
            errors.append(f.duplicate(f"{at}.type", kind))
        seen.add(kind)
    return errors


def certificate_signing_request_update(
    obj: Obj, old: Obj, may_decide: bool = False, may_issue: bool = False
) -> f.Errors:
    """`may_decide`: the approval subresource, which alone sets Approved and Denied. `may_issue`: the status
    subresource, which alone sets the certificate, once."""
    errors = _request(obj, _tolerated(obj, old))
    path = "status.conditions"
    for kind in ONLY_TRUE:
        if len(_of_type(obj, kind)) < len(_of_type(old, kind)):
            errors.append(f.forbidden(path, f'updates may not remove a condition of type "{kind}"'))
    if not may_decide:
        for kind in ("Approved", "Denied"):
            before, now = _of_type(old, kind), _of_type(obj, kind)
            if len(now) > len(before):
                errors.append(f.forbidden(path, f'updates may not add a condition of type "{kind}"'))
            elif len(now) == len(before) and now != before:
                why = f'updates may not modify a condition of type "{kind}"\n'
                errors.append(f.forbidden(path, why))
    before_data, now_data = (o["status"].get("certificate") for o in (old, obj))
    if now_data != before_data:
        if not may_issue:
            errors.append(f.forbidden("status.certificate", "updates may not set certificate content"))
        elif before_data:
            why = "updates may not modify existing certificate content"
            errors.append(f.forbidden("status.certificate", why))
    return errors


def _of_type(obj: Obj, kind: str) -> list[Obj]:
    return [c for c in obj["status"].get("conditions") or () if c.get("type") == kind]


def signer_name(name: str, path: str) -> f.Errors:
    """DOMAIN/PATH (core validation's ValidateSignerName)."""
    if not name:
        return [f.required(path)]
    segments = name.split("/")
    if len(segments) != 2:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [f.invalid(path, name, why)]
    domain, rest = segments
    errors: f.Errors = []
    if len(domain.encode()) > 253:
        errors.append(f.too_long(path, domain, 253))
    for label in domain.split("."):
        for text in names.is_dns1123_label(label):
            errors.append(f.invalid(path, domain, f"validating label {f.go_quote(label)}: {text}"))
    if "." not in domain:
        why = "should be a domain with at least two segments separated by dots"
        errors.append(f.invalid(path, domain, why))
    for label in rest.split("."):
        for text in names.is_dns1123_subdomain(label):
            errors.append(f.invalid(path, rest, f"validating label {f.go_quote(label)}: {text}"))
    if len(name.encode()) > 253 + 1 + 253 + 63 + 1:
        errors.append(f.too_long(path, name, 253 + 1 + 253 + 63 + 1))
    return errors


def _blocks(data: str | None) -> list[PemBlock]:
    try:
        return pem_blocks(b64decode(data or ""))
    except binascii.Error:
        return []


def _bad_request(data: str | None) -> str:
    """Why this is no signed PKCS#10 request, or ""."""
    blocks = _blocks(data)
    if not blocks or blocks[0].label != "CERTIFICATE REQUEST":
        return "PEM block type must be CERTIFICATE REQUEST"
    try:
        request = x509.load_der_x509_csr(blocks[0].data)
        is_valid = request.is_signature_valid
    except ValueError:
        return "asn1: structure error: malformed certificate request"
    except UnsupportedAlgorithm:
        return "x509: cannot verify signature: algorithm unimplemented"
    return "" if is_valid else "x509: signature verification failure"


def _bad_certificate(data: str | None) -> str:
    """Why these are no PEM certificates, or ""."""
    if not data:
        return ""
    blocks = _blocks(data)
    for block in blocks:
        if block.label != "CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {f.go_quote(block.label)}"
        if block.has_headers:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(block.data)
        except ValueError:
            return "x509: malformed certificate"
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"
