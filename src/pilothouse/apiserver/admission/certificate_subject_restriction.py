"""CertificateSubjectRestriction: nobody gets a client certificate of system:masters this way
(plugin/pkg/admission/certificates/subjectrestriction)."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import ClassVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from pilothouse.apiserver.admission import signers
from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin, Target
from pilothouse.apiserver.authz.rbac import MASTERS

_SIGNER = "kubernetes.io/kube-apiserver-client"


class CertificateSubjectRestriction(Plugin):
    name: ClassVar[str] = "CertificateSubjectRestriction"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset(
        ((signers.GROUP, "certificatesigningrequests", ""),)
    )

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None
        spec = a.obj["spec"]
        if spec.get("signerName") != _SIGNER:
            return
        try:
            request = x509.load_pem_x509_csr(b64decode(spec.get("request") or ""))
            groups = request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        except (ValueError, binascii.Error) as error:
            raise a.forbidden(f"failed to parse CSR: {error}") from None
        if any(group.value == MASTERS for group in groups):
            raise a.forbidden(f"use of {_SIGNER} signer with {MASTERS} group is not allowed")
