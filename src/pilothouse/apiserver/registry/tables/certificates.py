"""Table columns of the kinds in certificates.k8s.io."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, human_duration, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table

GROUP = "certificates.k8s.io"


def _request(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    seconds = spec.get("expirationSeconds")
    return [
        name(obj),
        age(obj, now_s),
        spec.get("signerName") or "<none>",
        spec.get("username", ""),
        "<none>" if seconds is None else human_duration(seconds),
        _condition(obj["status"]),
    ]


def _condition(status: Obj) -> str:
    """Denied before Approved before Pending, then what became of it."""
    types = {condition.get("type") for condition in status.get("conditions") or ()}
    words = [next((word for word in ("Denied", "Approved") if word in types), "Pending")]
    if "Failed" in types:
        words.append("Failed")
    if status.get("certificate"):
        words.append("Issued")
    return ",".join(words)


def _trust_bundle(obj: Obj, _now_s: float) -> list[Any]:
    return [name(obj), obj["spec"].get("signerName") or "<none>"]


# Upstream describes these columns by the types of v1beta1, which is no longer served.
_SIGNER = """\
Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. If empty, it will be \
defaulted:
 1. If it's a kubelet client certificate, it is assigned
    "kubernetes.io/kube-apiserver-client-kubelet".
 2. If it's a kubelet serving certificate, it is assigned
    "kubernetes.io/kubelet-serving".
 3. Otherwise, it is assigned "kubernetes.io/legacy-unknown".
Distribution of trust for signers happens out of band. You can select on this field using `spec.signerName`."""
_REQUEST = "Base64-encoded PKCS#10 CSR data"
_CONDITIONS = "Conditions applied to the request, such as approval or denial."


TABLES: dict[tuple[str, str], Table] = {
    (GROUP, "CertificateSigningRequest"): Table(
        (
            NAME,
            AGE,
            Column("SignerName", describe=_SIGNER),
            Column("Requestor", describe=_REQUEST),
            Column("RequestedDuration", describe="@spec.expirationSeconds"),
            Column("Condition", describe=_CONDITIONS),
        ),
        _request,
    ),
    (GROUP, "ClusterTrustBundle"): Table(
        (NAME, Column("SignerName", describe="@spec.signerName")), _trust_bundle
    ),
}
