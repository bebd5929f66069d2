"""Validation of ClusterTrustBundles (pkg/apis/certificates/validation)."""

from __future__ import annotations

from cryptography import x509

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.api.validation.certificates import signer_name
from pilothouse.api.validation.pem import PemBlock, pem_blocks

BUNDLE_BYTES_MAX = 1024 * 1024
_PATH = "spec.trustBundle"
_OMITTED = "<value omitted>"


def cluster_trust_bundle(obj: Obj, old: Obj | None = None) -> f.Errors:
    """A bundle that an update leaves as it was is not looked at again."""
    spec, before = obj["spec"], (old or {}).get("spec") or {}
    signer, name = spec.get("signerName", ""), obj["metadata"].get("name", "")
    errors = [f.invalid("metadata.name", name, why) for why in (name_faults(name, signer) if name else ())]
    if signer:
        errors += signer_name(signer, "spec.signerName")
    if old is None or spec.get("trustBundle") != before.get("trustBundle"):
        errors += _anchors(spec.get("trustBundle", ""))
    if old is not None and signer != before.get("signerName", ""):
        errors.append(f.invalid("spec.signerName", signer, "field is immutable"))
    return errors


def name_faults(name: str, signer: str | None = None) -> list[str]:
    """A signer's bundles begin with its name, colons for slashes; other bundles have no colon. `signer`: the
    one that the name tells of, if None."""
    if signer is None:
        parts = name.split(":")
        signer = "/".join(parts[:2]) if len(parts) == 3 else ""
    if not signer:
        if ":" in name:
            return ['ClusterTrustBundle without signer name must not have ":" in its name']
        return names.is_dns1123_subdomain(name)
    prefix = signer.replace("/", ":") + ":"
    if not name.startswith(prefix):
        return [f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"]
    return names.is_dns1123_subdomain(name.removeprefix(prefix))


def _anchors(bundle: str) -> f.Errors:
    """At least one CA certificate, each once, without headers."""
    if len(bundle.encode()) > BUNDLE_BYTES_MAX:
        return [f.too_long(_PATH, "", BUNDLE_BYTES_MAX)]
    errors: f.Errors = []
    places: dict[bytes, list[int]] = {}
    for index, block in enumerate(pem_blocks(bundle.encode())):
        why = _fault(block)
        if why:
            errors.append(f.invalid(_PATH, _OMITTED, f"entry {index} {why}"))
        else:
            places.setdefault(block.data, []).append(index)
    if errors:
        return errors
    if not places:
        return [f.invalid(_PATH, _OMITTED, "at least one trust anchor must be provided")]
    repeated = [" ".join(map(str, indices)) for indices in places.values() if len(indices) > 1]
    return [
        f.invalid(_PATH, _OMITTED, f"duplicate trust anchor (indices [{indices}])") for indices in repeated
    ]


def _fault(block: PemBlock) -> str:
    if block.label != "CERTIFICATE":
        return f"has bad block type: {block.label}"
    if block.has_headers:
        return "has PEM block headers"
    try:
        certificate = x509.load_der_x509_certificate(block.data)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "does not have the CA bit set"
    except ValueError:
        return "does not parse as X.509"
    return "" if constraints.ca else "does not have the CA bit set"
