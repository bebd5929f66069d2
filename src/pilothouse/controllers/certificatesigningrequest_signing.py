"""Signing controller: certificates for approved requests to the signers of Kubernetes
(pkg/controller/certificates/signer,
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/).

    approved, and as its signer wants it    status.certificate
    approved, and not so                    condition Failed, reason SignerValidationFailure
    anything else, or another's signer      left alone

Upstream runs a loop of four for each signer; here one loop asks the signer's CA.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CERTIFICATE_SIGNING_REQUESTS
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller, Environment, TryAgain
from pilothouse.controllers import certificate_requests as requests
from pilothouse.controllers.certificate_authority import CannotSign, CertificateAuthority, pem
from pilothouse.kit.work_queue import ExponentialLimiter, RateLimitedQueue

log = logging.getLogger(__name__)

BACKOFF_S = (0.2, 1000.0)
"""Shortest and longest wait of the certificate controllers (NewCertificateController)."""


class CertificateSigningController(Controller):
    name: ClassVar[str] = "csrsigning"

    def __init__(self, env: Environment, signers: Mapping[str, CertificateAuthority]) -> None:
        """`signers` are the CAs by signer's name; a signer without one signs nothing."""
        super().__init__(env)
        self.queue = RateLimitedQueue(
            self.name, env.world, env.metrics, limiter=ExponentialLimiter(*BACKOFF_S)
        )
        self._signers = signers

    def setup(self) -> None:
        if not self._signers:
            log.info("Skipping CSR signer controller because no csr cert/key was specified")
            return
        self._requests = self.watch(CERTIFICATE_SIGNING_REQUESTS)

    async def reconcile(self, key: str) -> float | None:
        csr = self._requests.get(key)
        if csr is None or (csr.get("status") or {}).get("certificate"):
            return None
        authority = self._signers.get(csr["spec"]["signerName"])
        if authority is None or not requests.is_approved(csr) or requests.has_failed(csr):
            return None
        await self._answer(self._signed(csr, authority))
        return None

    def _signed(self, csr: Obj, authority: CertificateAuthority) -> Obj:
        """The request with its certificate, or with the reason why it has none."""
        spec = csr["spec"]
        usages = spec.get("usages") or ()
        asked = requests.read(csr)
        try:
            requests.CHECKS[spec["signerName"]](asked, usages)
        except requests.RequestRefused as error:
            now = self.world.timestamp()
            return requests.with_condition(
                csr, "Failed", "SignerValidationFailure", str(error), lastUpdateTime=now
            )
        try:
            certificate = authority.sign(asked, usages, spec.get("expirationSeconds"), self.world.now())
        except CannotSign as error:
            raise TryAgain(f"error auto signing csr: {error}") from None
        return requests.with_status(csr, certificate=base64.b64encode(pem(certificate)).decode())

    async def _answer(self, csr: Obj) -> None:
        try:
            await self.client.update(CERTIFICATE_SIGNING_REQUESTS, csr, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise
