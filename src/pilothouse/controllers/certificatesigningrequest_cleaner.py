"""Cleaner: signing requests that are over are deleted (pkg/controller/certificates/cleaner/cleaner.go,
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#request-signing-process).

    approved and issued    an hour after the approval's last update, or once the certificate is out of date
    denied, failed         an hour after that
    nobody said anything   24 hours after its creation

All are looked at once an hour.
"""

from __future__ import annotations

import base64
import logging
from typing import ClassVar

from cryptography import x509

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CERTIFICATE_SIGNING_REQUESTS
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller
from pilothouse.kit.world import parse_timestamp

log = logging.getLogger(__name__)

PERIOD_S = 3600.0
DECIDED_S = 3600.0
PENDING_S = 24 * 3600.0
_ROUND = "round"


class CertificateCleaner(Controller):
    name: ClassVar[str] = "csrcleaner"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        self._requests = self.informer(CERTIFICATE_SIGNING_REQUESTS)
        self.queue.add(_ROUND)

    async def reconcile(self, key: str) -> float | None:
        now_s = self.world.now()
        for name in [r["metadata"]["name"] for r in self._requests.list() if is_over(r, now_s)]:
            try:
                await self.client.delete(CERTIFICATE_SIGNING_REQUESTS, name)
            except ApiError as error:
                # One that cannot be deleted must not keep the others: it is tried again in the next round.
                log.warning("unable to delete CSR %s: %s", name, error)
        return PERIOD_S


def is_over(csr: Obj, now_s: float) -> bool:
    """Whether nobody needs this request any more."""
    status = csr.get("status") or {}
    conditions = status.get("conditions") or ()
    if not conditions:
        return _is_older(csr["metadata"].get("creationTimestamp"), PENDING_S, now_s)
    is_issued = bool(status.get("certificate"))
    for each in conditions:
        if each["type"] == "Approved" and not is_issued:
            continue
        if each["type"] not in ("Approved", "Denied", "Failed"):
            continue
        if _is_older(each.get("lastUpdateTime"), DECIDED_S, now_s):
            return True
        if each["type"] == "Approved" and _is_expired(status["certificate"], now_s):
            return True
    return False


def _is_older(since: str | None, age_s: float, now_s: float) -> bool:
    return bool(since) and now_s - parse_timestamp(since or "") > age_s


def _is_expired(certificate: str, now_s: float) -> bool:
    """By its first certificate; what is none never ends."""
    try:
        found = x509.load_pem_x509_certificate(base64.b64decode(certificate))
    except ValueError:
        return False
    return found.not_valid_after_utc.timestamp() < now_s
