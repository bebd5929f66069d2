"""CertificateSigning: whoever issues a certificate, or says that it failed, must be allowed to sign for the signer
(plugin/pkg/admission/certificates/signing)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission import signers
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin, Target


class CertificateSigning(Plugin):
    name: ClassVar[str] = "CertificateSigning"
    operations: ClassVar[frozenset[Operation]] = frozenset(("UPDATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset(
        ((signers.GROUP, "certificatesigningrequests", "status"),)
    )

    def __init__(self, env: Environment) -> None:
        self._env = env

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None and a.old is not None
        if _outcome(a.obj) == _outcome(a.old):
            return
        signer = a.old["spec"].get("signerName", "")
        if not signers.is_authorized(self._env, a.user, "sign", signer):
            raise a.forbidden(f"user not permitted to sign requests with signerName {go_quote(signer)}")


def _outcome(request: Obj) -> tuple[str, list[Obj]]:
    status = request.get("status") or {}
    return status.get("certificate") or "", list(status.get("conditions") or ())
