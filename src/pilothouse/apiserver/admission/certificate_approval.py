"""CertificateApproval: whoever approves or denies a request must be allowed to for its signer
(plugin/pkg/admission/certificates/approval)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.field import go_quote
from pilothouse.apiserver.admission import signers
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin, Target


class CertificateApproval(Plugin):
    name: ClassVar[str] = "CertificateApproval"
    operations: ClassVar[frozenset[Operation]] = frozenset(("UPDATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset(
        ((signers.GROUP, "certificatesigningrequests", "approval"),)
    )

    def __init__(self, env: Environment) -> None:
        self._env = env

    async def validate(self, a: Attributes) -> None:
        assert a.old is not None
        # The stored signer: what the client sends in the spec of an approval is ignored anyway.
        signer = a.old["spec"].get("signerName", "")
        if not signers.is_authorized(self._env, a.user, "approve", signer):
            raise a.forbidden(f"user not permitted to approve requests with signerName {go_quote(signer)}")
